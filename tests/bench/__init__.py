"""The benchmark of `make bench`: whole programs in turn, each in a fresh process.

A program is measured in blocks, one an epoch with its validation, from the second epoch on. A
block during which other processes were busy is left out. What is compared is the ratio of two
programs that ran one after the other, never two figures from different hours, and on two threads
of epochs while the host ran their cores as far from each other.
"""
