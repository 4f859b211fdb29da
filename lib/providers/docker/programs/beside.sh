# This action may go on beside others of its kind, of the same run.
beside=-s
