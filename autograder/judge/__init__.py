"""How a submission is judged: the student's code in a box, the tests outside of it.

`worker`, `remote`, `block` and `cells` run in the box, beside code that nobody trusts. `bench`,
`check` and `names` run outside, where the student's code never enters. `wire` is what passes
between the two. `drive` and `engine` belong to the grader itself.
"""
