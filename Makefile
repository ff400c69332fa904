# The suite that stands for the promises of docs/promises.md, in its long form; SHARE=0.1 for a tenth of it.
SHARE ?= 1
.PHONY: faults
faults:
	OMP_NUM_THREADS=1 python -m pytest -m promise --long=$(SHARE) --promises=docs/promises.md
