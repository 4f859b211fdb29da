/** The installer on a pretended Debian, whose Docker keeps its objects in files and can die at any mutating call. */

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { INSTALLER_TEXT } from '../../../../lib/providers/ssh/programs.ts'
import { createStage, moved, type Stage } from './stage.ts'

const INSTALLER = 'usr/local/lib/landfall/install-dokploy'

/** Each object is a file in $STATE; each mutating call is noted in `mutations`, and the one whose number is in `die-at` fails before it acts. */
const DOCKER = `
mutate() {
  echo "$*" >>"$STATE/mutations"
  if [ -f "$STATE/die-at" ] && [ "$(wc -l <"$STATE/mutations")" = "$(cat "$STATE/die-at")" ]; then exit 137; fi
}
last() { for word in "$@"; do :; done; echo "$word"; }
named() { while [ "$1" != --name ]; do shift; done; echo "$2"; }
all=$*
case "$1 $2" in
'info --format')
  case $all in
  *ServerVersion*) echo "26.1.5 active" ;;
  *) if [ -f "$STATE/swarm" ]; then echo "active $(cat "$STATE/swarm") true"; else echo "inactive  false"; fi ;;
  esac ;;
'info ') [ -f "$STATE/dockerd" ] ;;
'swarm init') mutate swarm init; [ ! -f "$STATE/swarm" ] || exit 1; echo "$4" >"$STATE/swarm" ;;
'network inspect') [ -f "$STATE/network-$3" ] ;;
'network create') mutate network create; touch "$STATE/network-$(last "$@")" ;;
'secret inspect') [ -f "$STATE/secret-$3" ] ;;
'secret create') mutate secret create "$3"; [ ! -f "$STATE/secret-$3" ] || exit 1; cat >"$STATE/secret-$3" ;;
'volume inspect')
  name=$(last "$@"); [ -f "$STATE/volume-$name" ] || exit 1
  case $all in *Mountpoint*) echo "$STATE/data-$name" ;; *) cat "$STATE/volume-$name" ;; esac ;;
'volume create') mutate volume create; name=$(last "$@"); echo "\${4#*=}" >"$STATE/volume-$name"; mkdir -p "$STATE/data-$name" ;;
'volume ls') for file in "$STATE"/volume-*; do [ -f "$file" ] && echo "\${file##*/volume-}"; done; true ;;
'volume rm') mutate volume rm; rm -rf "$STATE/volume-$3" "$STATE/data-$3" ;;
'image inspect')
  name=$(printf %s "$(last "$@")" | tr '/:@' '___'); [ -f "$STATE/image-$name" ] || exit 1
  case $all in *RepoDigests*) cat "$STATE/image-$name" ;; *) echo "sha256:1d" ;; esac ;;
'pull -q')
  mutate pull "$3"; name=$(printf %s "$3" | tr '/:@' '___'); repository=\${3%%:*}
  echo "$repository@sha256:$(cat "$STATE/digest" 2>/dev/null || echo aaaa)" >"$STATE/image-$name"
  cp "$STATE/image-$name" "$STATE/image-$(tr '/:@' '___' <"$STATE/image-$name")" ;;
'service inspect') name=$(last "$@"); [ -f "$STATE/service-$name" ] || exit 1; cat "$STATE/service-$name" ;;
'service create')
  name=$(named "$@"); mutate service create "$name"; [ ! -f "$STATE/service-$name" ] || exit 1
  last "$@" >"$STATE/service-$name"; echo "$all" >"$STATE/created-$name"
  case $name in
  dokploy) mkdir -p "$ROOT/etc/dokploy/traefik"; touch "$ROOT/etc/dokploy/traefik/traefik.yml" ;;
  *) touch "$STATE/data-dokploy-postgres/PG_VERSION" ;;
  esac ;;
'service update') mutate service update; last "$@" >/dev/null ;;
'service rm') mutate service rm "$3"; rm -f "$STATE/service-$3" ;;
'service ls') for file in "$STATE"/service-*; do [ -f "$file" ] && echo "\${file##*/service-} 1/1"; done; true ;;
'container inspect') [ -f "$STATE/container-$3" ] ;;
'run -d') name=$(named "$@"); mutate run "$name"; [ ! -f "$STATE/container-$name" ] || exit 1; echo "$all" >"$STATE/container-$name" ;;
'ps -q') case $all in *label*) [ ! -f "$STATE/service-dokploy" ] || echo 0123abcd ;; esac ;;
'inspect --format') echo "sha256:1d" ;;
'start dokploy-traefik' | 'ps -aq') true ;;
*) echo "the pretended docker does not know: $all" >&2; exit 64 ;;
esac`

let stage: Stage

function prepare(): Stage {
  const made = createStage()
  made.write(INSTALLER, moved(INSTALLER_TEXT, made.root), 0o700)
  made.write('etc/landfall/dokploy-install.conf', 'VERSION=0.30.2\nADVERTISE_ADDR=203.0.113.7\nPOOL=10.201.0.0/16\n')
  made.write('var/lib/landfall/.keep', '')
  made.write('etc/apt/apt.conf.d/.keep', '')
  made.write('run/systemd/system/.keep', '')
  made.write('etc/fstab', '')
  made.write('proc/meminfo', 'MemTotal:        4015432 kB\nSwapTotal:             0 kB\n')
  made.write('root/.ssh/authorized_keys', 'ssh-ed25519 AAAA\n')
  made.write('etc/ssh/sshd_config', 'Include /etc/ssh/sshd_config.d/*.conf\n')
  made.write('etc/ssh/sshd_config.d/50-cloud-init.conf', 'PasswordAuthentication yes\n')
  made.command('docker', DOCKER)
  made.command('curl', `[ -f "$STATE/service-dokploy" ] && echo '{"result":{"data":{"json":{"status":"ok"}}}}'`)
  made.command('dpkg-query', `for name in "$@"; do :; done; [ -f "$STATE/package-$name" ] && echo 'install ok installed'`)
  made.command(
    'apt-get',
    `case "$*" in
*install*) for word in "$@"; do case $word in -* | install | DPkg* | Dpkg*) ;; docker.io=*) touch "$STATE/package-docker.io" "$STATE/dockerd"; printf '#!/bin/sh\\n' >"$ROOT/bin/dockerd"; chmod +x "$ROOT/bin/dockerd" ;; *) touch "$STATE/package-$word" ;; esac; done ;;
esac`,
  )
  made.command(
    'apt-cache',
    `case $2 in docker.io | docker-cli) echo '  Candidate: 26.1.5+dfsg1-9' ;; *) echo '  Candidate: (none)' ;; esac`,
  )
  made.command(
    'ip',
    `printf 'default via 172.31.1.1 dev eth0\\n172.31.1.1 dev eth0 scope link\\n10.0.1.0/24 dev eth1\\n172.17.0.0/16 dev docker0\\n'`,
  )
  for (const name of ['dpkg', 'apt-mark', 'systemctl', 'ss', 'ssh', 'ssh-keygen', 'sleep', 'cloud-init', 'swapon', 'mkswap'])
    made.command(name, 'exit 0')
  made.command('sshd', `case $1 in -T) echo 'authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2' ;; esac`)
  made.command('dd', `for word in "$@"; do case $word in of=*) touch "\${word#of=}" ;; esac; done`)
  return made
}

beforeEach(() => {
  stage = prepare()
})
afterEach(() => stage.remove())

const mutations = (of = stage) => (of.has('state/mutations') ? of.read('state/mutations').split('\n').slice(0, -1) : [])
const marker = (of = stage) => of.read('var/lib/landfall/dokploy-install.stage').trim()
const secrets = (of = stage) => [of.read('state/secret-dokploy_postgres_password'), of.read('state/secret-dokploy_auth_secret')]

const FRESH = [
  'swarm init',
  'network create',
  'secret create dokploy_postgres_password',
  'secret create dokploy_auth_secret',
  'volume create',
  'pull postgres:16',
  'service create dokploy-postgres',
  'pull dokploy/dokploy:v0.30.2',
  'service create dokploy',
  'pull traefik:v3.6.7',
  'run dokploy-traefik',
]

describe('a fresh server', () => {
  test('ends with a healthy Dokploy, and a second run changes nothing', () => {
    const first = stage.runFile(INSTALLER)
    expect({ exitCode: first.exitCode, stage: marker(), output: first.exitCode === 0 ? '' : first.output }).toEqual({
      exitCode: 0,
      stage: 'done',
      output: '',
    })
    expect(mutations()).toEqual(FRESH)
    const before = secrets()
    expect(before.every(secret => /^[0-9a-f]{64}$/.test(secret))).toBe(true)
    expect(stage.runFile(INSTALLER).exitCode).toBe(0)
    expect(mutations()).toEqual(FRESH)
    expect(secrets()).toEqual(before)
    expect(stage.calls('docker').filter(call => call.includes('swarm leave'))).toEqual([])
  })

  test('has Docker at the distribution’s version, held, with addresses that collide with nothing', () => {
    stage.runFile(INSTALLER)
    expect(stage.calls('apt-get').some(call => call.endsWith('docker.io=26.1.5+dfsg1-9 docker-cli'))).toBe(true)
    expect(stage.calls('apt-mark')).toEqual(['hold docker.io'])
    expect(JSON.parse(stage.read('etc/docker/daemon.json'))).toMatchObject({
      'live-restore': false,
      'log-opts': { 'max-size': '10m' },
      'default-address-pools': [{ base: '172.20.0.0/14', size: 24 }],
    })
    expect(stage.calls('docker')).toContain(
      'swarm init --advertise-addr 203.0.113.7 --default-addr-pool 10.201.0.0/16 --default-addr-pool-mask-length 24',
    )
  })

  test('has an overlay whose packets fit the network that workers come over', () => {
    stage.runFile(INSTALLER)
    expect(stage.calls('docker')).toContain('network create --driver overlay --attachable dokploy-network')
    const other = prepare()
    other.command(
      'ip',
      `case "$*" in
'-4 -o addr show') printf '2: eth0    inet 198.51.100.9/32 scope global eth0\n3: enp7s0@if9    inet 203.0.113.7/32 scope global enp7s0\n' ;;
'-o link show dev enp7s0') echo '3: enp7s0@if9: <BROADCAST,UP> mtu 1450 qdisc fq_codel state UP mode DEFAULT' ;;
*) printf 'default via 172.31.1.1 dev eth0\n172.31.1.1 dev eth0 scope link\n' ;;
esac`,
    )
    other.runFile(INSTALLER)
    expect(other.calls('docker')).toContain(
      'network create --driver overlay --attachable --opt com.docker.network.driver.mtu=1450 dokploy-network',
    )
    other.remove()
  })

  test('runs images by digest, keeps secrets out of the services, and publishes only the panel', () => {
    stage.runFile(INSTALLER)
    expect(stage.read('state/service-dokploy').trim()).toBe('dokploy/dokploy@sha256:aaaa')
    expect(stage.read('etc/landfall/images.lock')).toBe(
      'postgres postgres:16 sha256:aaaa\ndokploy dokploy/dokploy:v0.30.2 sha256:aaaa\ntraefik traefik:v3.6.7 sha256:aaaa\n',
    )
    const created = stage.read('state/created-dokploy') + stage.read('state/created-dokploy-postgres')
    for (const secret of secrets()) expect(created + stage.calls('docker').join('\n')).not.toContain(secret)
    expect(created.match(/--publish \S+/g)).toEqual(['--publish published=3000,target=3000,mode=host'])
    expect(created).toContain('RELEASE_TAG=v0.30.2')
  })

  test('closes password logins before vendors’ settings are read, and gets security updates', () => {
    stage.runFile(INSTALLER)
    expect(stage.read('etc/ssh/sshd_config.d/10-landfall.conf')).toContain('PasswordAuthentication no')
    expect(stage.calls('systemctl')).toContain('reload-or-restart ssh.service')
    expect(stage.read('etc/apt/apt.conf.d/52landfall')).toContain('Unattended-Upgrade "1"')
  })

  test('with little memory gets a swap file once', () => {
    stage.write('proc/meminfo', 'MemTotal:        1015432 kB\nSwapTotal:             0 kB\n')
    stage.runFile(INSTALLER)
    stage.runFile(INSTALLER)
    expect(stage.has('swapfile')).toBe(true)
    expect(stage.read('etc/fstab').split('\n').length).toBe(2)
  })
})

for (const [index, call] of FRESH.entries())
  test(`an installation that dies at "${call}" is finished by the next run, with one of each and no other secret`, () => {
    stage.write('state/die-at', `${index + 1}\n`)
    // A pull is tried again at once, so that death does not end the run.
    if (!call.startsWith('pull')) expect(stage.runFile(INSTALLER).exitCode).not.toBe(0)
    const kept = stage.has('state/secret-dokploy_postgres_password')
      ? stage.read('state/secret-dokploy_postgres_password')
      : undefined
    const again = stage.runFile(INSTALLER)
    expect({ exitCode: again.exitCode, stage: marker() }).toEqual({ exitCode: 0, stage: 'done' })
    expect(mutations().length).toBe(FRESH.length + 1)
    expect(stage.read('state/secret-dokploy_postgres_password')).toBe(
      kept ?? stage.read('state/secret-dokploy_postgres_password'),
    )
    expect(mutations().filter(each => each.endsWith('rm'))).toEqual([])
  })

describe('lost secrets', () => {
  test('with data behind them stop the installation, and the data stays', () => {
    stage.runFile(INSTALLER)
    removeState(stage, 'secret-dokploy_postgres_password')
    const again = stage.runFile(INSTALLER)
    expect(again.exitCode).toBe(1)
    expect(again.output).toContain(
      "These secrets of Dokploy's database are lost: dokploy_postgres_password. Nothing was changed, because there is data in its volumes",
    )
    expect(stage.has('state/data-dokploy-postgres/PG_VERSION')).toBe(true)
    expect(marker()).toBe('secrets')
  })

  test('of a database that this server made and never used are replaced together with it', () => {
    stage.write('state/die-at', `${FRESH.indexOf('service create dokploy') + 1}\n`)
    stage.runFile(INSTALLER)
    removeState(stage, 'secret-dokploy_postgres_password')
    expect(stage.runFile(INSTALLER).exitCode).toBe(0)
    expect(mutations().filter(call => call === 'volume rm').length).toBe(1)
    expect(marker()).toBe('done')
  })

  test('of a database that somebody else made count as data', () => {
    stage.write('state/volume-dokploy-postgres', 'another-label\n')
    stage.write('state/data-dokploy-postgres/PG_VERSION', '16\n')
    const { exitCode, output } = stage.runFile(INSTALLER)
    expect(exitCode).toBe(1)
    expect(output).toContain('save that first')
    expect(output).not.toContain('ebuild this server')
    expect(stage.has('state/data-dokploy-postgres/PG_VERSION')).toBe(true)
  })
})

describe('an installation stops with a reason', () => {
  const stops = () => {
    const { exitCode, output } = stage.runFile(INSTALLER)
    expect(exitCode).toBe(1)
    return output
  }

  test('when an image is not the one that was locked', () => {
    stage.write('etc/landfall/images.lock', 'postgres postgres:16 sha256:bbbb\n')
    expect(stops()).toContain('The image postgres:16 was sha256:bbbb and is sha256:aaaa now.')
    expect(mutations()).not.toContain('service create dokploy-postgres')
  })

  test('when the address pool overlaps a network of the server', () => {
    stage.write('etc/landfall/dokploy-install.conf', 'VERSION=0.30.2\nADVERTISE_ADDR=203.0.113.7\nPOOL=10.0.0.0/8\n')
    expect(stops()).toContain(
      'The container address pool 10.0.0.0/8 overlaps this server’s network 10.0.1.0/24.'.replace('’', "'"),
    )
    expect(mutations()).toEqual([])
  })

  test('when the swarm is another one, which it never leaves', () => {
    stage.write('state/swarm', '10.0.1.9\n')
    expect(stops()).toContain('It holds no data: rebuild this server.')
    expect(mutations()).toEqual([])
    stage.write('state/volume-orders', '\n')
    expect(stops()).toContain('Nothing was changed, because there is data in its volumes')
    expect(mutations()).toEqual([])
  })

  test('when another program has the panel’s port', () => {
    stage.command('ss', 'case "$*" in *3000*) echo LISTEN ;; esac')
    expect(stops()).toContain('Port 3000 is taken by another program')
    expect(mutations()).not.toContain('service create dokploy')
  })

  test('when Dokploy does not become healthy, and it does not call itself done', () => {
    stage.command('curl', 'exit 7')
    stage.command('docker', DOCKER.replace('0123abcd', ''))
    expect(stops()).toContain('Dokploy did not become healthy within five minutes')
    expect(marker()).toBe('health')
    expect(stage.has('var/lib/landfall/dokploy-install.finished')).toBe(false)
  }, 60_000)

  test('when sshd refuses the key-only settings, which are taken back', () => {
    stage.command('sshd', 'exit 1')
    expect(stops()).toContain('sshd refused the key-only settings')
    expect(stage.list('etc/ssh/sshd_config.d')).toEqual(['50-cloud-init.conf'])
  })

  test('when nobody could log in with a key afterwards: sshd goes on with what it has', () => {
    stage.command('ssh', 'exit 255')
    expect(stops()).toContain('nobody could log in any more; the key-only ones were taken back')
    expect(stage.list('etc/ssh/sshd_config.d')).toEqual(['50-cloud-init.conf'])
    expect(stage.calls('systemctl').filter(call => call.includes('reload'))).toEqual([])
    expect(stage.list('run').filter(name => name.startsWith('landfall-login'))).toEqual([])
  })

  test('when sshd looks for keys elsewhere', () => {
    stage.command('sshd', `case $1 in -T) echo 'authorizedkeysfile /etc/ssh/keys/%u' ;; esac`)
    stage.write('etc/ssh/sshd_config.d/10-landfall.conf', 'PasswordAuthentication yes\n')
    expect(stops()).toContain('were taken back')
    expect(stage.read('etc/ssh/sshd_config.d/10-landfall.conf')).toBe('PasswordAuthentication yes\n')
  })

  test('when its guard cannot be put up, before there is a swarm', () => {
    stage.command('systemctl', 'case "$*" in "restart landfall-guard.service") exit 1 ;; esac')
    expect(stops()).toContain('The machine did not put its guard up')
    expect(mutations()).toEqual([])
  })

  test('when live-restore is on', () => {
    stage.write('etc/docker/daemon.json', '{"live-restore": true}\n')
    expect(stops()).toContain('live-restore')
  })

  test('when the server has no packages of Debian’s kind', () => {
    stage.command('forget', 'rm -f "$ROOT/bin/apt-get"')
    stage.runFile('bin/forget')
    expect(stops()).toContain('neither Debian nor Ubuntu')
  })

  test('when its settings are incomplete or hold something else than words', () => {
    stage.write('etc/landfall/dokploy-install.conf', 'VERSION=0.30.2\n')
    expect(stops()).toContain('incomplete')
    stage.write('etc/landfall/dokploy-install.conf', 'VERSION=$(id)\n')
    expect(stops()).toContain('cannot be used for VERSION')
  })
})

test('password logins stay open where root has no key to come back with', () => {
  stage.write('root/.ssh/authorized_keys', '# none\n')
  expect(stage.runFile(INSTALLER).exitCode).toBe(0)
  expect(stage.list('etc/ssh/sshd_config.d')).toEqual(['50-cloud-init.conf'])
})

test('images that lie on the server already are used without a registry', () => {
  stage.write('etc/landfall/images.env', 'DOKPLOY_IMAGE=local/dokploy:test\n')
  stage.write('state/image-local_dokploy_test', '')
  expect(stage.runFile(INSTALLER).exitCode).toBe(0)
  expect(stage.read('state/service-dokploy').trim()).toBe('local/dokploy:test')
  expect(stage.read('etc/landfall/images.lock')).toContain('dokploy local/dokploy:test sha256:1d\n')
  expect(mutations()).not.toContain('pull local/dokploy:test')
})

function removeState(of: Stage, name: string): void {
  of.command('forget', `rm -f "$STATE/${name}"`)
  of.runFile('bin/forget')
}
