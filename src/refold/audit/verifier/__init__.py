"""Verify what refold proves: one file, for Python 3.9 or newer and nothing else.

    python refold_verify.py --key KEY [--witness KEY] [--against OLD] [--show] FILE...

FILE is a checkpoint (a signed note), a proof of one event, a proof that one checkpoint continues
another, a whole export, or a bundle of evidence. KEY is the log's verifying key (name+id+base64, or
a file that holds it), which must reach you by another way than the files. Exit status: 0 everything
is verified; 1 something is not, and it is said what and where; 2 it was called wrongly.
"""
