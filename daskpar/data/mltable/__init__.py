"""MLTable folders: the document checked, its files listed, its kinds inferred; opened as a table or a file
list.
"""
