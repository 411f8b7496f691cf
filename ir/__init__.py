"""The intermediate representation: typed SSA functions, their op table, and the passes over them.

README.md in this folder is the specification, and lists the modules, each importing only what stands before it.
"""
