"""The plan of mini-batches as plain values in a folder: written once by the driver, memory-mapped by every processor.

A plan is a folder with `plan.json` (what kind, how many, how to read) and Arrow IPC files with one row for each file, piece or group.
Mini-batch `i` of a plan is the same whoever reads it, whenever: its index is never a matter of the cluster, the blocks, a retry or a resume.

    kind      plan.arrow holds                                   mini-batch i is
    files     path                                               `per_batch` paths from row i * per_batch
    pieces    file, start, stop, skip, take  (data.table.PIECE)  the rows of piece i
    grouped   the rows of `files` or `pieces`, group by group;   the rows offsets[i] .. offsets[i + 1]
              groups.arrow: offset and the key columns
    numbers   nothing                                            the list [i] (internal passes, rank_mini_batch_count)
"""
