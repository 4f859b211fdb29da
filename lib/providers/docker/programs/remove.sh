stop_all "$IDS"
remove_ended "$IDS"
