if [ ! -s "$HISTORY_FILE" ]; then exit 4; fi
cat "$HISTORY_FILE"
