# The suite that stands for the promises of docs/promises.md, in its long form; SHARE=0.1 for a tenth of it.
SHARE ?= 1
.PHONY: faults
faults:
	OMP_NUM_THREADS=1 python -m pytest -m promise --long=$(SHARE) --promises=docs/promises.md

# All bundles packed, and checked by the Model Zoo's own script; ZOO=a checkout of github Project-MONAI/model-zoo,
# RUNS="openkbp=RUN ...", OUT=a new folder. A bundle without a run gets a training of one epoch.
OUT ?= packed
.PHONY: zoo
zoo:
	OMP_NUM_THREADS=1 python benchmarks/zoo.py --zoo "$(ZOO)" --out "$(OUT)" $(foreach run,$(RUNS),--run $(run))

# The MONAI Label app on a real server, in an environment of its own (about 3 GB, made once in build/label).
.PHONY: label
label:
	python tests/label/run.py

# The documentation's site, in build/site; needs the extra [docs].
.PHONY: site
site:
	python -m sphinx -W --keep-going -q -c docs . build/site
