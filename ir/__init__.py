"""The intermediate representation: typed SSA functions, their op table, and the passes over them.

README.md in this folder is the specification. Layers, each importing only what stands left of it:
errors, types <- core <- ops <- builder <- verify, printer, parser, interpreter <- rewrite <- rules,
passes, differentiate, residuals, fuse.
"""
