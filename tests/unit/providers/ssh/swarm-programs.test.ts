/** The programs about a swarm on a pretended server: what they tell Docker, and what nobody else reads. */

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { PROGRAM_TEXTS } from '../../../../lib/providers/ssh/programs.ts'
import { Secret } from '../../../../lib/secret.ts'
import { createStage, type Stage } from './stage.ts'

let stage: Stage
beforeEach(() => {
  stage = createStage()
  stage.write('state/swarm', 'inactive false\n')
  stage.command(
    'docker',
    `case "$1 $2" in
'info --format') cat "$STATE/swarm" ;;
'swarm join-token') echo SWMTKN-1-secret ;;
'swarm leave') echo 'inactive false' >"$STATE/swarm" ;;
'node inspect') exit 1 ;;
esac`,
  )
  stage.command('curl', `cat >"$STATE/body"; echo 'active false' >"$STATE/swarm"; echo 200`)
  stage.command('sleep', 'exit 0')
  stage.command('systemctl', 'exit 0')
})
afterEach(() => stage.remove())

const join = PROGRAM_TEXTS['join-swarm']
const TOKEN = new Secret('token', 'SWMTKN-1-secret')
const WANTED = { TOKEN, MANAGER: '172.16.0.2', ADVERTISE_ADDR: '172.16.0.3' }

test('the token comes from the manager and goes to Docker’s socket, on no command line', () => {
  const { stdout } = stage.run(PROGRAM_TEXTS['read-swarm-token'])
  expect(stdout).toBe(`TOKEN ${Buffer.from('SWMTKN-1-secret').toString('base64')}\n`)
  expect(stage.run(join, WANTED)).toEqual({ exitCode: 0, stdout: 'ok=1\n', stderr: '' })
  expect(JSON.parse(stage.read('state/body'))).toEqual({
    ListenAddr: '172.16.0.3:2377',
    AdvertiseAddr: '172.16.0.3',
    DataPathAddr: '172.16.0.3',
    RemoteAddrs: ['172.16.0.2:2377'],
    JoinToken: 'SWMTKN-1-secret',
  })
  for (const command of ['docker', 'curl']) for (const call of stage.calls(command)) expect(call).not.toContain('SWMTKN')
})

test('one that is in the swarm does not join again, and leaves another only when told to', () => {
  stage.write('state/swarm', 'active false\n')
  expect(stage.run(join, WANTED).exitCode).toBe(0)
  expect(stage.calls('curl')).toEqual([])
  expect(stage.run(join, { ...WANTED, LEAVE: 'yes' }).exitCode).toBe(0)
  expect(stage.calls('docker')).toContain('swarm leave')
  expect(stage.calls('curl')).toHaveLength(1)
})

test('a manager neither joins nor leaves', () => {
  stage.write('state/swarm', 'active true\n')
  for (const LEAVE of ['yes', 'no'])
    expect(stage.run(join, { ...WANTED, LEAVE })).toMatchObject({
      exitCode: 1,
      stderr: 'This server manages a swarm of its own, which is not left for another.\n',
    })
  expect(stage.run(PROGRAM_TEXTS['leave-swarm']).exitCode).toBe(1)
  expect(stage.calls('docker')).not.toContain('swarm leave')
})

test('what Docker says against it is told in its words, and an odd token is never sent', () => {
  stage.command('curl', `cat >/dev/null; while [ "$1" != -o ]; do shift; done; echo '{"message":"no route"}' >"$2"; echo 503`)
  expect(stage.run(join, WANTED)).toMatchObject({ exitCode: 1, stderr: 'Docker refused to join: {"message":"no route"}\n' })
  expect(stage.run(join, { ...WANTED, TOKEN: 'x","y":"' }).exitCode).toBe(65)
})

test('a node that the swarm has forgotten is gone already', () => {
  expect(stage.run(PROGRAM_TEXTS['set-swarm-node'], { NODE: 'abc', STATE: 'gone' })).toEqual({
    exitCode: 0,
    stdout: 'ok=1\n',
    stderr: '',
  })
  expect(stage.run(PROGRAM_TEXTS['set-swarm-node'], { NODE: 'abc', STATE: 'lost' }).exitCode).toBe(65)
  expect(stage.run(PROGRAM_TEXTS['set-swarm-node'], { NODE: '$(id)', STATE: 'drain' }).exitCode).toBe(65)
})

test('the guard lets members in on the private network alone, and tells what is in force', () => {
  stage.command('ip', `case "$*" in *default*) echo 'default via 172.31.1.1 dev eth0' ;; esac`)
  for (const family of ['iptables', 'ip6tables']) {
    stage.command(family, 'exit 1')
    stage.command(`${family}-restore`, `cat >"$STATE/${family}.rules"`)
  }
  expect(stage.run(PROGRAM_TEXTS['set-swarm-peers'], { PEERS: '172.16.0.3 172.16.0.4' }).exitCode).toBe(0)
  stage.command('iptables', 'exit 0')
  stage.command('ip6tables', 'exit 0')
  stage.command('sort', 'head -n 1')
  expect(stage.runFile('usr/local/lib/landfall/guard')).toEqual({ exitCode: 0, output: '' })
  const rules = stage.read('state/iptables.rules').split('\n')
  const at = (rule: string) => rules.indexOf(`-A landfall-guard ${rule}`)
  const accepted = at('-s 172.16.0.3 -p tcp -m multiport --dports 2377,7946 -j RETURN')
  expect(accepted).toBeGreaterThan(at('-i eth0 -p tcp -m multiport --dports 2377,7946 -j DROP'))
  expect(at('-i eth0 -p tcp -m multiport --dports 2377,7946 -j DROP')).toBeGreaterThan(0)
  expect(at('-p tcp -m multiport --dports 2377,3000,7946 -j DROP')).toBeGreaterThan(accepted)
  expect(at('-s 172.16.0.4 -p udp -m multiport --dports 4789,7946 -j RETURN')).toBeGreaterThan(0)
  expect(stage.read('run/landfall/swarm-peers')).toBe('172.16.0.3 172.16.0.4 \n')
  expect(stage.run(PROGRAM_TEXTS.facts).stdout).toContain('\nswarm_peers=172.16.0.3 172.16.0.4 \n')
  expect(stage.run(PROGRAM_TEXTS['set-swarm-peers'], { PEERS: '0.0.0.0/0' }).exitCode).toBe(65)
})
