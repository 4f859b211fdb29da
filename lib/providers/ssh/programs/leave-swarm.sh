case $(swarm_state) in
  inactive* | none*) ;;
  *' true') fail 'This server manages a swarm, which is not left like this.' ;;
  *) timeout 60 docker swarm leave >/dev/null || fail 'The swarm could not be left.' ;;
esac
echo ok=1
