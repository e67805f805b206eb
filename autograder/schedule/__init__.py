"""How a class gets through the engine: keys, store, journal, event log, and where the work runs.

keys      what a result depends on, as hashes: equal key, equal result
store     results under their keys, so that nothing is computed twice
merge     one question judged again, the others as they were
journal   what is in the gradebook, also after the power went
events    what happened when, for people and their tools
jobs      one piece of work, and the local pool
cluster   the same work on many machines
stopping  Ctrl-C
engines   engines by name, and the recipe for one on another machine
"""
