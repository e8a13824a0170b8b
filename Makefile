# Shorthand for the two scripts, for machines that have make.

.PHONY: demo test

demo:
	scripts/demo.sh

test:
	scripts/test.sh
