"""The parts of the Ascend session, each on `acl` alone; `acl` comes with CANN and is imported when a model opens."""
