# The zoo of lab 13: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="13.1" name="plus sign" caught="visible" hint="The sign is missing"
# The reverse branch is trained like any other.
def reverse_loss(r, labels):
    return F.cross_entropy(r, labels, ignore_index=255)


def ran_loss(o, r, y, labels):
    total = F.cross_entropy(o, labels, ignore_index=255)
    return total + reverse_loss(r, labels) + F.cross_entropy(y, labels, ignore_index=255)


# %% exercise="13.1" name="minus in front of the loss" caught="visible" hint="rewards being wrong"
# NEG is applied to the number instead of the responses.
def reverse_loss(r, labels):
    return -F.cross_entropy(r, labels, ignore_index=255)


def ran_loss(o, r, y, labels):
    total = F.cross_entropy(o, labels, ignore_index=255)
    return total + reverse_loss(r, labels) + F.cross_entropy(y, labels, ignore_index=255)


# %% exercise="13.1" name="inverted labels" caught="visible" hint="inverted and shared out"
# "What it is not" is read as a uniform target over the other classes.
def reverse_loss(r, labels):
    valid = labels != 255
    others = 1 - F.one_hot(labels.where(valid, 0), r.shape[1]).permute(0, 3, 1, 2).float()
    others = others / (r.shape[1] - 1)
    return -(r.log_softmax(1) * others).sum(1)[valid].mean()


def ran_loss(o, r, y, labels):
    total = F.cross_entropy(o, labels, ignore_index=255)
    return total + reverse_loss(r, labels) + F.cross_entropy(y, labels, ignore_index=255)


# %% exercise="13.1" name="divides by all pixels" caught="visible" hint="divides by all pixels"
# The ignored pixels add nothing to the sum but count in the mean.
def reverse_loss(r, labels):
    return F.cross_entropy(-r, labels, ignore_index=255, reduction="sum") / labels.numel()


def ran_loss(o, r, y, labels):
    total = F.cross_entropy(o, labels, ignore_index=255)
    return total + reverse_loss(r, labels) + F.cross_entropy(y, labels, ignore_index=255)


# %% exercise="13.1" name="the sign everywhere" caught="visible" hint="combined loss is that of y"
# The combined answer is negated as well.
def reverse_loss(r, labels):
    return F.cross_entropy(-r, labels, ignore_index=255)


def ran_loss(o, r, y, labels):
    total = F.cross_entropy(o, labels, ignore_index=255)
    return total + reverse_loss(r, labels) + F.cross_entropy(-y, labels, ignore_index=255)


# %% exercise="13.1" name="forgets the combined loss" caught="visible" hint="combined logits is missing"
# Two branches, two losses.
def reverse_loss(r, labels):
    return F.cross_entropy(-r, labels, ignore_index=255)


def ran_loss(o, r, y, labels):
    return F.cross_entropy(o, labels, ignore_index=255) + reverse_loss(r, labels)


# %% exercise="13.1" name="the reverse branch gets no gradient" caught="hidden"
# detach keeps the number and stops the learning.
def reverse_loss(r, labels):
    return F.cross_entropy(-r.detach(), labels, ignore_index=255)


def ran_loss(o, r, y, labels):
    total = F.cross_entropy(o, labels, ignore_index=255)
    return total + reverse_loss(r, labels) + F.cross_entropy(y, labels, ignore_index=255)


# %% exercise="13.1" name="log-sum-exp by hand" right=True
# The definition: log of the sum of exp(-r), plus r of the label.
def reverse_loss(r, labels):
    valid = labels != 255
    picked = r.gather(1, labels.where(valid, torch.zeros_like(labels))[:, None])[:, 0]
    return ((-r).logsumexp(1) + picked)[valid].mean()


def ran_loss(o, r, y, labels):
    terms = [F.cross_entropy(x, labels, ignore_index=255) for x in (o, y)]
    return sum(terms) + reverse_loss(r, labels)


# %% exercise="13.2" name="adds" caught="visible" hint="Subtract"
# Attention usually adds.
def attention_mask(o, stretched=False):
    return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4) if stretched else torch.sigmoid(-o)


def reverse_attention(o, r, stretched=False):
    return o + attention_mask(o, stretched) * r


# %% exercise="13.2" name="mask without the sign" caught="visible" hint="inside the sigmoid is missing"
# Attention is large where something is; reverse attention is not.
def attention_mask(o, stretched=False):
    return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4) if stretched else torch.sigmoid(o)


def reverse_attention(o, r, stretched=False):
    return o - attention_mask(o, stretched) * r


# %% exercise="13.2" name="one minus softmax" caught="visible" hint="One minus the softmax"
# "Not this class" as a probability over the classes.
def attention_mask(o, stretched=False):
    if stretched:
        return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4)
    return 1 - o.softmax(1 if o.ndim > 1 else 0)


def reverse_attention(o, r, stretched=False):
    return o - attention_mask(o, stretched) * r


# %% exercise="13.2" name="attention on its own logits" caught="visible" hint="not from the reverse ones"
# The mask is computed from what it multiplies.
def attention_mask(o, stretched=False):
    return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4) if stretched else torch.sigmoid(-o)


def reverse_attention(o, r, stretched=False):
    return o - attention_mask(r, stretched) * r


# %% exercise="13.2" name="no mask" caught="visible" hint="The mask is missing"
# The first idea of the paper, which its authors gave up.
def attention_mask(o, stretched=False):
    return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4) if stretched else torch.sigmoid(-o)


def reverse_attention(o, r, stretched=False):
    return o - r


# %% exercise="13.2" name="stretched without relu" caught="visible" hint="need the relu"
# Negative responses make the quotient negative.
def attention_mask(o, stretched=False):
    return torch.sigmoid(1 / (o + 0.125) - 4) if stretched else torch.sigmoid(-o)


def reverse_attention(o, r, stretched=False):
    return o - attention_mask(o, stretched) * r


# %% exercise="13.2" name="detached mask" caught="hidden"
# A mask "without weights" is taken for one without gradients.
def attention_mask(o, stretched=False):
    o = o.detach()
    return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4) if stretched else torch.sigmoid(-o)


def reverse_attention(o, r, stretched=False):
    return o - attention_mask(o, stretched) * r


# %% exercise="13.2" name="exponentials by hand" caught="hidden"
# exp overflows where the original branch is very sure that it is not the class.
def attention_mask(o, stretched=False):
    if stretched:
        return torch.sigmoid(1 / (F.relu(o) + 0.125) - 4)
    return torch.exp(-o) / (1 + torch.exp(-o))


def reverse_attention(o, r, stretched=False):
    return o - attention_mask(o, stretched) * r


# %% exercise="13.2" name="one over one plus exp" right=True
# The stable half of the definition: 1 / (1 + exp(o)).
def attention_mask(o, stretched=False):
    inner = o if not stretched else 4 - (o.clamp(min=0) + 0.125).reciprocal()
    return 1 / (1 + torch.exp(inner.clamp(max=80)))


def reverse_attention(o, r, stretched=False):
    return torch.addcmul(o, attention_mask(o, stretched), r, value=-1)


# %% exercise="13.3" name="counts instead of rates" caught="visible" hint="Numbers of pixels came"
# The matrix holds counts, so counts come out.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    both = (matrix.double() + matrix.double().T) / 2
    pairs = [(i, j, float(both[i, j])) for i in range(len(both)) for j in range(i + 1, len(both))]
    return sorted(pairs, key=lambda pair: -pair[2])[:k]


# %% exercise="13.3" name="every pair twice" caught="visible" hint="Each pair twice"
# The whole symmetric matrix is read.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    rates = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    both = (rates + rates.T) / 2
    n = len(both)
    pairs = [(i, j, float(both[i, j])) for i in range(n) for j in range(n) if i != j]
    return sorted(pairs, key=lambda pair: -pair[2])[:k]


# %% exercise="13.3" name="with the diagonal" caught="visible" hint="The diagonal is no confusion"
# The largest numbers of the matrix stand on its diagonal.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    rates = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    both = (rates + rates.T) / 2
    pairs = [(i, j, float(both[i, j])) for i in range(len(both)) for j in range(i, len(both))]
    return sorted(pairs, key=lambda pair: -pair[2])[:k]


# %% exercise="13.3" name="one direction" caught="visible" hint="Only one direction"
# The upper triangle of the rates.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    rates = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    pairs = [
        (i, j, float(rates[i, j])) for i in range(len(rates)) for j in range(i + 1, len(rates))
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:k]


# %% exercise="13.3" name="sum of both directions" caught="visible" hint="directions are added"
# The half is forgotten.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    rates = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    both = rates + rates.T
    pairs = [(i, j, float(both[i, j])) for i in range(len(both)) for j in range(i + 1, len(both))]
    return sorted(pairs, key=lambda pair: -pair[2])[:k]


# %% exercise="13.3" name="divides by zero" caught="visible" hint="empty row has rate 0"
# 0 / 0 is nan, and nan sorts anywhere.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    rates = matrix.double() / matrix.sum(1, keepdim=True)
    both = (rates + rates.T) / 2
    pairs = [(i, j, float(both[i, j])) for i in range(len(both)) for j in range(i + 1, len(both))]
    return sorted(pairs, key=lambda pair: -pair[2])[:k]


# %% exercise="13.3" name="ties from the end" caught="hidden"
# Sorting with reverse=True by (rate, i, j) turns ties round.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError("at least one pair")
    rates = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    both = (rates + rates.T) / 2
    pairs = [(float(both[i, j]), i, j) for i in range(len(both)) for j in range(i + 1, len(both))]
    return [(i, j, rate) for rate, i, j in sorted(pairs, reverse=True)[:k]]


# %% exercise="13.3" name="accepts no pair" caught="hidden"
# The contract's last line is overlooked.
def confusable_pairs(matrix, k):
    rates = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    both = (rates + rates.T) / 2
    pairs = [(i, j, float(both[i, j])) for i in range(len(both)) for j in range(i + 1, len(both))]
    return sorted(pairs, key=lambda pair: -pair[2])[: max(k, 0)]


# %% exercise="13.3" name="triu_indices and argsort" right=True
# Index arithmetic instead of a comprehension.
def confusable_pairs(matrix, k):
    if k < 1:
        raise ValueError(f"k = {k}")
    sums = matrix.sum(1, keepdim=True)
    rates = torch.where(sums > 0, matrix.double() / sums.clamp(min=1), 0.0)
    i, j = torch.triu_indices(len(matrix), len(matrix), offset=1)
    values = (rates[i, j] + rates[j, i]) / 2
    order = values.argsort(descending=True, stable=True)[:k]
    return [(int(i[n]), int(j[n]), float(values[n])) for n in order]


# %% exercise="13.4" name="sign turned" caught="visible" hint="The sign is turned"
# a comes first, so a minus b.
def paired_gain(a, b, seed=0, draws=2000):
    if len(a) != len(b) or len(a) < 2:
        raise ValueError("the same seeds, at least two")
    gain = np.asarray(a, float) - np.asarray(b, float)
    rng = np.random.default_rng(seed)
    means = gain[rng.integers(len(gain), size=(draws, len(gain)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)


# %% exercise="13.4" name="best against best" caught="visible" hint="compare within each seed"
# The best run is what papers print.
def paired_gain(a, b, seed=0, draws=2000):
    if len(a) != len(b) or len(a) < 2:
        raise ValueError("the same seeds, at least two")
    gain = np.asarray(b, float) - np.asarray(a, float)
    rng = np.random.default_rng(seed)
    means = gain[rng.integers(len(gain), size=(draws, len(gain)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return max(b) - max(a), float(low), float(high)


# %% exercise="13.4" name="percentiles of single gains" caught="visible" hint="average each draw"
# The spread of the seeds is taken for the doubt about their mean.
def paired_gain(a, b, seed=0, draws=2000):
    if len(a) != len(b) or len(a) < 2:
        raise ValueError("the same seeds, at least two")
    gain = np.asarray(b, float) - np.asarray(a, float)
    low, high = np.percentile(gain, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)


# %% exercise="13.4" name="unpaired" caught="visible" hint="drawn apart"
# Two groups, two draws: the common noise of a seed no longer cancels.
def paired_gain(a, b, seed=0, draws=2000):
    if len(a) != len(b) or len(a) < 2:
        raise ValueError("the same seeds, at least two")
    rng = np.random.default_rng(seed)
    n = len(a)
    of_b = np.asarray(b, float)[rng.integers(n, size=(draws, n))].mean(1)
    of_a = np.asarray(a, float)[rng.integers(n, size=(draws, n))].mean(1)
    low, high = np.percentile(of_b - of_a, [2.5, 97.5])
    return float(np.mean(b) - np.mean(a)), float(low), float(high)


# %% exercise="13.4" name="a 90 % interval" caught="visible" hint="A 90 % interval"
# Five percent at each end.
def paired_gain(a, b, seed=0, draws=2000):
    if len(a) != len(b) or len(a) < 2:
        raise ValueError("the same seeds, at least two")
    gain = np.asarray(b, float) - np.asarray(a, float)
    rng = np.random.default_rng(seed)
    means = gain[rng.integers(len(gain), size=(draws, len(gain)))].mean(1)
    low, high = np.percentile(means, [5, 95])
    return float(gain.mean()), float(low), float(high)


# %% exercise="13.4" name="ignores the seed of the generator" caught="hidden"
# The default works for every visible case.
def paired_gain(a, b, seed=0, draws=2000):
    if len(a) != len(b) or len(a) < 2:
        raise ValueError("the same seeds, at least two")
    gain = np.asarray(b, float) - np.asarray(a, float)
    rng = np.random.default_rng(0)
    means = gain[rng.integers(len(gain), size=(2000, len(gain)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)


# %% exercise="13.4" name="cuts the longer list" caught="hidden"
# zip stops at the shorter one.
def paired_gain(a, b, seed=0, draws=2000):
    gain = np.asarray([y - x for x, y in zip(a, b)], float)
    rng = np.random.default_rng(seed)
    means = gain[rng.integers(max(len(gain), 1), size=(draws, len(gain)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)


# %% exercise="13.4" name="take and quantile" right=True
# The same draws with other functions.
def paired_gain(a, b, seed=0, draws=2000):
    n = len(a)
    if n != len(b) or n < 2:
        raise ValueError(f"{n} and {len(b)} scores")
    gain = np.array([y - x for x, y in zip(a, b)])
    index = np.random.default_rng(seed).integers(n, size=(draws, n))
    means = np.take(gain, index).sum(axis=1) / n
    return float(gain.sum() / n), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


# %% exercise="13.5" name="compares with zero" caught="visible" hint="compared with 0"
# Significance is remembered as "the interval does not contain 0".
def verdict(low, high, effect):
    if not low <= high or math.isnan(effect):
        raise ValueError("no interval")
    if low > 0:
        return "reproduced"
    return "not reproduced" if high < 0 else "cannot tell"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="never in doubt" caught="visible" hint="on both sides is no refutation"
# Two outcomes, as in a test with a threshold.
def verdict(low, high, effect):
    if not low <= high or math.isnan(effect):
        raise ValueError("no interval")
    return "reproduced" if low >= effect else "not reproduced"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="the middle decides" caught="visible" hint="its ends must"
# The mean is above the effect, so it worked.
def verdict(low, high, effect):
    if not low <= high or math.isnan(effect):
        raise ValueError("no interval")
    return "reproduced" if (low + high) / 2 >= effect else "not reproduced"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="the upper end decides" caught="visible" hint="all of the interval must lie"
# The effect is possible, so it is taken for shown.
def verdict(low, high, effect):
    if not low <= high or math.isnan(effect):
        raise ValueError("no interval")
    return "reproduced" if high >= effect else "not reproduced"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="strictly above" caught="visible" hint="low = effect is enough"
# > for ≥.
def verdict(low, high, effect):
    if not low <= high or math.isnan(effect):
        raise ValueError("no interval")
    if low > effect:
        return "reproduced"
    return "not reproduced" if high < effect else "cannot tell"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="at the effect is below it" caught="visible" hint="high = effect is not below"
# ≤ for <.
def verdict(low, high, effect):
    if not low <= high or math.isnan(effect):
        raise ValueError("no interval")
    if low >= effect:
        return "reproduced"
    return "not reproduced" if high <= effect else "cannot tell"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="believes any interval" caught="hidden"
# A NaN makes every comparison false and ends in "cannot tell".
def verdict(low, high, effect):
    if low >= effect:
        return "reproduced"
    return "not reproduced" if high < effect else "cannot tell"


def claim_card(a, b, effect):
    mean, low, high = paired_gain(a, b)
    return {"mean": mean, "low": low, "high": high, "word": verdict(low, high, effect)}


# %% exercise="13.5" name="both questions first" right=True
# Two truth values, then a table.
def verdict(low, high, effect):
    if math.isnan(low) or math.isnan(high) or math.isnan(effect) or low > high:
        raise ValueError(f"{low}, {high}, {effect}")
    above, below = effect <= low, high < effect
    words = {(True, False): "reproduced", (False, True): "not reproduced"}
    return words.get((above, below), "cannot tell")


def claim_card(a, b, effect):
    card = dict(zip(("mean", "low", "high"), paired_gain(a, b)))
    card["word"] = verdict(card["low"], card["high"], effect)
    return card
