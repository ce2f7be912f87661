# `make` lists what there is to do. The environments live in .venv; nothing else is changed.

# Another Python: make lab PYTHON=/path/to/python3.11
PYTHON ?= $(shell unset PYTHONHOME PYTHONPATH; \
	for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c "" 2>/dev/null && echo "$$p" && break; done)
LAB := .venv/lab/bin/python

# The Python path or home of the caller's other projects would break the environments.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP

.PHONY: help lab lab-only test notebooks lint lock picture audit-table bench bench-fashion soak colab clean python-there setup-all setup-lab

help:
	@echo 'make lab        set up everything, then open JupyterLab on the first notebook'
	@echo '                (more arguments for JupyterLab: LAB_ARGS="--ip=0.0.0.0")'
	@echo 'make lab-only   the same without the TensorFlow kernel of lessons 09 and 13'
	@echo 'make setup-lab  the same as lab-only, but without opening JupyterLab: for grading'
	@echo 'make test       set up everything, then run all tests and all notebooks'
	@echo 'make notebooks  execute the notebooks and save their outputs (some: NB="01 02")'
	@echo 'make lint       check the style of code and notebooks'
	@echo 'make lock       write requirements/lab.txt anew from pyproject.toml (newest: UPGRADE=1)'
	@echo 'make picture    compute the picture of the README anew (20 seconds)'
	@echo 'make audit-table  audit both corpora and write the table in docs/auditor.md'
	@echo 'make bench      speed against peers, each as a ratio; writes tests/benchmarks/README.md'
	@echo '                (25 minutes; some: BENCH="lira secure"; tiny, nothing stored: BENCH=--quick)'
	@echo 'make bench-fashion  accuracy at ε = 3 on all of Fashion-MNIST (5 minutes; other folder:'
	@echo '                FASHION=/where/the/four/files/are)'
	@echo 'make soak       every notebook 20 times, every checker 1,000 times: days; goes on where it'
	@echo '                was stopped (less: SOAK="--notebooks 03 --times 5 --minutes 30"; what came'
	@echo '                out into docs/reliability.md: SOAK=--keep)'
	@echo 'make colab      run the lessons as on Colab, in an environment like its own (some minutes;'
	@echo '                some: NB="03 04"; its Python: COLAB_PYTHON=/path/to/python3.12)'
	@echo 'make clean      delete the environments and what the tools left behind'
	@echo 'All of them take another Python with PYTHON=/path/to/python3.11.'

lab: setup-all
	@$(LAB) tools/lab.py $(LAB_ARGS)

lab-only: setup-lab
	@$(LAB) tools/lab.py $(LAB_ARGS)

test: setup-all
	@$(LAB) -m pytest

notebooks: setup-all
	@$(LAB) tools/notebooks.py run $(NB)

lint: setup-lab
	@$(LAB) -m ruff check
	@$(LAB) -m ruff format --check
	@$(LAB) tools/notebooks.py lint

lock: python-there
	@"$(PYTHON)" tools/lock.py $(if $(UPGRADE),--upgrade)

picture: setup-lab
	@$(LAB) tools/picture.py

audit-table: setup-lab
	@$(LAB) tools/audit_table.py

bench: setup-all
	@$(LAB) tests/benchmarks/run.py $(BENCH)

bench-fashion: setup-lab
	@$(LAB) tests/benchmarks/fashion_mnist.py $(if $(FASHION),--folder "$(FASHION)") \
		--json tests/benchmarks/results/fashion_mnist.json
	@$(LAB) tests/benchmarks/run.py --page-only

soak: setup-all
	@$(LAB) tools/soak.py $(SOAK)

colab: setup-lab
	@$(LAB) tools/colab.py $(if $(COLAB_PYTHON),--python "$(COLAB_PYTHON)") $(NB)

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name '*.egg-info' \
		-o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

setup-all setup-lab: setup-%: python-there
	@"$(PYTHON)" tools/setup.py $*

python-there:
	@if [ -z "$(PYTHON)" ]; then \
		echo 'No Python was found. Install Python 3.11, or name yours:' \
			'make lab PYTHON=/path/to/python3.11' >&2; exit 2; fi
