/**
 * The programs about a swarm on two real Docker Engines, each in a network namespace of its own, with a cable between them: a join whose token
 * no process shows, through guards that shut everybody else out, containers on both nodes that speak with each other, and a node that is
 * drained and leaves. What is left out here is SSH and the cloud (tests/machines/workers.test.ts).
 */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProgramName } from '../../../lib/estate/programs.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { REMOTE_COMMAND, renderRequest } from '../../../lib/providers/ssh/protocol.ts'
import { moved } from '../../unit/providers/ssh/stage.ts'
import { until } from '../base/world.ts'
import { loadBaseImage, must, startDocker, type TestDocker } from '../docker.ts'

setDefaultTimeout(180_000)

const MANAGER = '172.30.99.2'
const WORKER = '172.30.99.3'
/** On the same network, in no swarm. */
const NEIGHBOUR = '172.30.99.9'
const SERVER =
  "import http.server as h, socket\\nclass A(h.BaseHTTPRequestHandler):\\n  def do_GET(s): s.send_response(200); s.end_headers(); s.wfile.write(socket.gethostname().encode())\\nh.HTTPServer(('', 8000), A).serve_forever()"

let manager: TestDocker
let worker: TestDocker
let token = ''

beforeAll(async () => {
  manager = await startDocker({ name: 'manager', subnet: '172.26' })
  worker = await startDocker({ name: 'worker', subnet: '172.25' })
  const space = ({ inside }: TestDocker) => inside.at(-1)?.replace('--net=/run/netns/', '') ?? ''
  must(['ip', 'link', 'add', 'cable', 'netns', space(manager), 'type', 'veth', 'peer', 'name', 'cable', 'netns', space(worker)])
  for (const [docker, address] of [[manager, MANAGER] as const, [worker, WORKER] as const]) {
    must([...docker.inside, 'ip', 'address', 'add', `${address}/24`, 'dev', 'cable'])
    must([...docker.inside, 'ip', 'link', 'set', 'cable', 'up'])
    loadBaseImage(docker)
    const bin = join(docker.directory, 'bin')
    mkdirSync(bin)
    const guard = join(docker.directory, 'usr/local/lib/landfall/guard')
    writeFileSync(join(bin, 'systemctl'), `#!/bin/sh\ncase $1 in restart) exec ${guard} ;; esac\n`, { mode: 0o755 })
  }
  must([...worker.inside, 'ip', 'address', 'add', `${NEIGHBOUR}/32`, 'dev', 'cable'])
  const init = ['swarm', 'init', '--advertise-addr', MANAGER, '--default-addr-pool', '172.29.0.0/16']
  must(['docker', ...init, '--default-addr-pool-mask-length', '24'], { env: manager.environment })
})

afterAll(async () => {
  await worker?.stop()
  await manager?.stop()
})

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const start = (docker: TestDocker, name: ProgramName, values: Readonly<Record<string, string>> = {}) => {
  const text = moved(PROGRAM_TEXTS[name].text, docker.directory).replaceAll(
    '/var/run/docker.sock',
    join(docker.directory, 'docker.sock'),
  )
  const child = Bun.spawn([...docker.inside, 'sh', '-c', REMOTE_COMMAND], {
    env: { ...docker.environment, PATH: `${join(docker.directory, 'bin')}:${docker.environment.PATH}` },
    stdin: renderRequest({ ...PROGRAM_TEXTS[name], text }, values),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const ended = Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()])
  return ended.then(([code, stdout, stderr]): Ended => ({ code, stdout, stderr }))
}
const OK: Ended = { code: 0, stdout: 'ok=1\n', stderr: '' }

const nodesNow = async () =>
  (await start(manager, 'swarm-nodes')).stdout.split('\n').flatMap(line => {
    const [word, id = '', , state, availability, role, leaving, tasks] = line.split(' ')
    return word === 'node' ? [{ id, state, availability, role, leaving, tasks: Number(tasks) }] : []
  })
const workerNow = async () => (await nodesNow()).filter(node => node.role === 'worker')
const containersOn = (docker: TestDocker) => docker.docker('ps', '-q', '--filter', 'name=web').stdout.split('\n').filter(Boolean)

/** Command lines and environments of everything that runs here, as root reads them. */
const readProcesses = (): string =>
  readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(pid =>
      ['cmdline', 'environ'].map(file => {
        try {
          return readFileSync(`/proc/${pid}/${file}`, 'latin1')
        } catch {
          return ''
        }
      }),
    )
    .join('\n')

/** Whether a connection from an address of the worker's to a port of the manager is taken up. */
const reaches = (from: string, port: number): boolean => {
  const words = ['curl', '-s', '-o', '/dev/null', '--connect-timeout', '2', '-m', '3', '--interface', from]
  const { exitCode } = Bun.spawnSync([...worker.inside, ...words, `http://${MANAGER}:${port}/`])
  // A connection that was not taken up times out; one that was ends in words that are no HTTP.
  return exitCode !== 28
}

test('the guards let members in, and nobody else', async () => {
  expect([reaches(WORKER, 2377), reaches(NEIGHBOUR, 2377)]).toEqual([true, true])
  expect(await start(manager, 'set-swarm-peers', { PEERS: '' })).toEqual(OK)
  expect([reaches(WORKER, 2377), reaches(NEIGHBOUR, 2377)]).toEqual([false, false])
  expect(await start(manager, 'set-swarm-peers', { PEERS: WORKER })).toEqual(OK)
  expect(await start(worker, 'set-swarm-peers', { PEERS: MANAGER })).toEqual(OK)
  expect([reaches(WORKER, 2377), reaches(WORKER, 7946), reaches(NEIGHBOUR, 2377), reaches(NEIGHBOUR, 7946)]).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect(readFileSync(join(manager.directory, 'run/landfall/swarm-peers'), 'utf8').trim()).toBe(WORKER)
})

test('a worker joins over its own address, once, with a token that no process shows', async () => {
  expect(await start(worker, 'swarm-nodes')).toMatchObject({ code: 4, stderr: 'It manages no swarm.\n' })
  const [word, encoded = ''] = (await start(manager, 'read-swarm-token')).stdout.trim().split(' ')
  token = Buffer.from(encoded, 'base64').toString()
  expect({ word, isToken: token.startsWith('SWMTKN-1-') }).toEqual({ word: 'TOKEN', isToken: true })

  const values = { MANAGER, ADVERTISE_ADDR: WORKER, LEAVE: 'no' }
  expect(await start(worker, 'join-swarm', { ...values, TOKEN: 'SWMTKN-1-none' })).toMatchObject({
    code: 1,
    stderr: 'Docker refused to join: {"message":"invalid join token"}\n',
  })
  let ended = false
  let looks = 0
  const joining = start(worker, 'join-swarm', { ...values, TOKEN: token }).finally(() => {
    ended = true
  })
  while (!ended) {
    expect(readProcesses().includes(token)).toBe(false)
    looks += 1
    await Bun.sleep(5)
  }
  expect(await joining).toEqual(OK)
  expect(looks).toBeGreaterThan(3)
  expect(await start(worker, 'join-swarm', { ...values, TOKEN: token })).toEqual(OK)
  const [node, ...more] = await until(workerNow, nodes => nodes[0]?.state === 'ready', 30_000)
  expect({ node, more }).toMatchObject({ node: { availability: 'active', leaving: 'staying', tasks: 0 }, more: [] })
  expect(worker.docker('info', '--format', '{{.Swarm.NodeAddr}} {{.Swarm.NodeID}}').stdout.trim()).toBe(`${WORKER} ${node?.id}`)
})

test('containers run on both nodes, and each reaches the other', async () => {
  for (const words of [
    ['network', 'create', '--driver', 'overlay', 'net'],
    [
      'service',
      'create',
      '--quiet',
      '--detach',
      '--no-resolve-image',
      '--name',
      'web',
      '--replicas',
      '2',
      '--network',
      'net',
    ].concat(['--endpoint-mode', 'dnsrr', 'landfall-example/base:1', 'python3', '-c', `exec("${SERVER}")`]),
  ])
    must(['docker', ...words], { env: manager.environment })
  const both = async () => [containersOn(manager), containersOn(worker)] as const
  const [[here = ''], [there = '']] = await until(both, ([one, two]) => one.length === 1 && two.length === 1, 60_000)
  const hosts = [...containersOn(manager), ...containersOn(worker)].map(id => id.slice(0, 12)).sort()
  const ask = `import socket, urllib.request\nprint(' '.join(sorted(urllib.request.urlopen('http://%s:8000' % a, timeout=3).read().decode() for a in {r[4][0] for r in socket.getaddrinfo('web', 8000)})))`
  for (const [docker, id] of [[manager, here] as const, [worker, there] as const])
    await until(
      async () => docker.docker('exec', id, 'python3', '-c', ask).stdout.trim(),
      said => said === hosts.join(' '),
      60_000,
    )
  expect((await workerNow()).map(node => node.tasks)).toEqual([1])
})

test('a node that is to leave is drained, its containers run on elsewhere, and the swarm forgets it', async () => {
  const [node] = await workerNow()
  const NODE = node?.id ?? ''
  expect(await start(manager, 'set-swarm-node', { NODE, STATE: 'drain' })).toEqual(OK)
  const [drained] = await until(workerNow, nodes => nodes[0]?.tasks === 0, 60_000)
  expect(drained).toMatchObject({ availability: 'drain', leaving: 'leaving' })
  expect(containersOn(worker)).toEqual([])
  await until(
    async () => containersOn(manager).length,
    count => count === 2,
    60_000,
  )
  expect(await start(manager, 'set-swarm-node', { NODE, STATE: 'active' })).toEqual(OK)
  expect(await workerNow()).toMatchObject([{ availability: 'active', leaving: 'staying' }])
  for (const STATE of ['drain', 'gone', 'gone']) expect(await start(manager, 'set-swarm-node', { NODE, STATE })).toEqual(OK)
  for (let times = 0; times < 2; times++) expect(await start(worker, 'leave-swarm')).toEqual(OK)
  expect(await workerNow()).toEqual([])
  expect(worker.docker('info', '--format', '{{.Swarm.LocalNodeState}}').stdout.trim()).toBe('inactive')
})

test('a manager neither joins another swarm nor leaves its own', async () => {
  const values = { TOKEN: token, MANAGER: WORKER, ADVERTISE_ADDR: MANAGER, LEAVE: 'yes' }
  for (const ended of [await start(manager, 'join-swarm', values), await start(manager, 'leave-swarm')])
    expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('which is not left') })
  expect((await nodesNow()).map(({ state, role }) => `${role} ${state}`)).toEqual(['manager ready'])
})
