"""The double of ais_bench (Ascend/tools), on the double of pyACL."""
