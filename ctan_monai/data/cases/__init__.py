"""A case: its arrays and labels, its file, the cache of such files, its grid and resampling."""

from ctan_monai.aliases import keep_old_names

keep_old_names(__name__)
