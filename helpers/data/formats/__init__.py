"""Volume files of each format, read without native code: headers are checked before voxels, streams by checksum."""
