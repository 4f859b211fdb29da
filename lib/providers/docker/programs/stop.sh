stop_all "$IDS"
