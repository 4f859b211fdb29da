set -f
for image in $IMAGES; do
  if ! said=$(docker pull --quiet "$image" 2>&1); then printf 'failed=%s %s\n' "$(encoded "$image")" "$(encoded "$said")"; fi
done
