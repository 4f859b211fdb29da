case $IMAGE in
  '' | -* | *[!a-zA-Z0-9./:_@-]*) fail 'IMAGE is not the name or the id of an image.' 65 ;;
esac
if ! image_digests=$(docker image inspect --format '{{range .RepoDigests}}{{.}} {{end}}' "$IMAGE" 2>/dev/null); then
  echo image=absent
  exit 0
fi
echo image=present
echo "digests=$image_digests"
