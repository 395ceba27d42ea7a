"""What pages show and nobody writes by hand: tables between marks, and pictures.

    python -m tools.pages PART [ARGUMENT ...]

A part is a module of this package, and the table in `marks.py` says which marks of which page it fills. Its `contents`
gives what stands between its marks, its `pictures` the files of docs/images, both by name and from the same arguments.
What took long to measure is kept in docs/data.
"""
