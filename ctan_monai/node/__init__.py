"""A DICOM node: studies are received, predicted by a trained run, and the answers sent (docs/dicom-node.md).

`settings` says what is wanted, `journal` keeps what happened. `receive`, `predict` and `send` do the work, each from
what the journal says alone, so that a node that was killed goes on; `service` starts and stops them.
"""
