"""Bulk prediction: an archive of images to a Parquet dataset, on Ray.

::

    source -> shards -> actors with an engine each -> one Parquet part a shard -> breasts, patients

`sources` lists and reads files, `shards` cuts the list, `predictor` is what runs in an actor,
`dataset` is the output, `levels` the second pass over it, and `running` puts them on Ray.
"""
