/**
 * A panel whose rows and rules are the stand-in's and whose containers are real: a Docker Swarm of the tests' own does the updates, the
 * health checks and the way back, asked with the commands that Dokploy itself uses. Simulated are the panel, the queue and the build;
 * nginx stands where Traefik would, and names lead to tasks (dnsrr), for which no kernel module is needed.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { systemClock } from '../../../lib/engine/clock.ts'
import type { Machines, ProgramResult } from '../../../lib/providers/ports/machine.ts'
import { REMOTE_COMMAND, renderRequest } from '../../../lib/providers/ssh/protocol.ts'
import type { StandInResponse } from '../../../lib/sandbox/kit.ts'
import { type Call, openRig, type Rig } from '../../sandbox/apps/rig.ts'
import { findTools } from '../cluster/tools.ts'
import { must, type TestDocker } from '../docker.ts'

const NETWORK = 'dokploy-network'
/** On the daemon's own loopback, the one place that needs no TLS. */
const REGISTRY = '127.0.0.1:5000'
export const IMAGE = `${REGISTRY}/landfall-apps/web`
/** The address that the daemon's namespace has for the tests. */
const UPLINK = { here: '172.27.254.1', there: '172.27.254.2' } as const

type Row = Readonly<Record<string, unknown>>
const rowOf = (value: unknown): Row => (typeof value === 'object' && value !== null ? { ...value } : {})
const textOf = (row: Row, field: string): string => (typeof row[field] === 'string' ? row[field] : '')
const ok = (json: unknown): StandInResponse => ({ status: 200, json })

export interface Swarm {
  readonly rig: Rig
  readonly machines: Pick<Machines, 'run'>
  /** Where the front answers. */
  readonly address: string
  /** What the next build of a repository gives: a tag of the test's image. */
  setBuild(tag: string): void
  /** Leads a host of the front to an application. */
  route(host: string, appName: string, port: number): void
  /** Ids of the app's containers that run now, of one version. */
  running(appName: string): readonly string[]
  close(): Promise<void>
}

/** Images `IMAGE:<tag>`, each with its version and its way of being broken. */
export function buildImages(docker: TestDocker, modes: Readonly<Record<string, string>>): void {
  for (const [tag, mode] of Object.entries(modes))
    must(
      [
        'docker',
        ...['build', '-q', '--label', 'landfall.test=1', '-t', `${IMAGE}:${tag}`],
        ...['--build-arg', `VERSION=${tag}`, '--build-arg', `MODE=${mode}`, join(import.meta.dir, 'app')],
      ],
      { env: { ...docker.environment, DOCKER_BUILDKIT: '0' } },
    )
}

export async function openSwarm(docker: TestDocker): Promise<Swarm> {
  const sh = (...words: string[]): string => must(['docker', ...words], { env: docker.environment })
  sh('swarm', 'init', '--advertise-addr', '127.0.0.1', '--default-addr-pool', '172.27.0.0/17')
  sh('network', 'create', '--driver', 'overlay', '--attachable', NETWORK)
  connect(docker)
  const registry = await startRegistry(docker)
  sh('push', '--all-tags', IMAGE)
  const front = startFront(docker)
  let built = ''

  const engine = async (method: 'GET' | 'POST', path: string, body?: unknown): Promise<{ status: number; json: Row }> => {
    const response = await fetch(`http://docker${path}`, {
      unix: join(docker.directory, 'docker.sock'),
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    return { status: response.status, json: rowOf(await response.json()) }
  }

  /** Hands an application's row over to Swarm. */
  const handOver = async (row: Row): Promise<void> => {
    const appName = textOf(row, 'appName')
    const fromImage = row.sourceType === 'docker'
    if (!fromImage && built !== '') sh('tag', `${IMAGE}:${built}`, `${appName}:latest`)
    if (fromImage) sh('pull', textOf(row, 'dockerImage'))
    const found = await engine('GET', `/services/${appName}`)
    const template = rowOf(rowOf(found.json.Spec).TaskTemplate)
    const memory = Number(row.memoryLimit ?? 0)
    const spec = {
      Name: appName,
      TaskTemplate: {
        ContainerSpec: {
          Image: fromImage ? row.dockerImage : `${appName}:latest`,
          Env: Object.entries(parse(textOf(row, 'env'))).map(([name, value]) => `${name}=${value}`),
          ...(row.healthCheckSwarm ? { HealthCheck: row.healthCheckSwarm } : {}),
        },
        Networks: [{ Target: NETWORK }],
        Resources: memory > 0 ? { Limits: { MemoryBytes: memory } } : {},
        ForceUpdate: found.status === 200 ? Number(template.ForceUpdate ?? 0) + 1 : 0,
      },
      Mode: { Replicated: { Replicas: row.replicas } },
      ...(row.updateConfigSwarm ? { UpdateConfig: row.updateConfigSwarm } : {}),
      EndpointSpec: { Mode: 'dnsrr' },
    }
    const answer =
      found.status === 200
        ? await engine('POST', `/services/${appName}/update?version=${String(rowOf(found.json.Version).Index)}`, spec)
        : await engine('POST', '/services/create', spec)
    if (answer.status >= 300) throw new Error(`Swarm refused ${appName}: ${JSON.stringify(answer.json)}`)
  }

  const intercept = async (
    { method, path, query, body }: Call,
    ask: () => Promise<StandInResponse>,
    raw: Rig['raw'],
  ): Promise<StandInResponse> => {
    const application = async (id: unknown) => rowOf((await raw('GET', `/api/application.one?applicationId=${String(id)}`)).json)
    const appName = query.get('appName') ?? ''
    switch (`${method} ${path}`) {
      case 'POST /api/application.deploy': {
        const answer = await ask()
        if (answer.status === 200) await handOver(await application(rowOf(body).applicationId))
        return answer
      }
      case 'POST /api/application.reload': {
        const row = await application(rowOf(body).applicationId)
        built = ''
        await handOver(row)
        return ok(true)
      }
      case 'GET /api/docker.getServiceContainersByAppName': {
        const format = '{{.ID}} | {{.Name}} | {{.DesiredState}} | {{.Node}} | {{.CurrentState}} | {{.Error}}'
        const found = docker.docker('service', 'ps', appName, '--no-trunc', '--format', format)
        return ok(
          found.stdout
            .trim()
            .split('\n')
            .filter(line => line !== '')
            .map(line => {
              const [containerId, name, state = '', node, currentState, error] = line.split(' | ').map(part => part.trim())
              return { containerId, name, state: state.toLowerCase(), node, currentState, error }
            }),
        )
      }
      case 'GET /api/docker.getContainersByAppLabel': {
        const filter = `label=com.docker.swarm.service.name=${appName}`
        const lines = sh('ps', '--filter', filter, '--format', '{{.ID}} | {{.Names}} | {{.State}}').trim().split('\n')
        return ok(
          lines
            .filter(line => line !== '')
            .map(line => {
              const [containerId, name, state] = line.split(' | ')
              return { containerId, name, state }
            }),
        )
      }
      case 'GET /api/docker.getConfig': {
        const found = docker.docker('inspect', query.get('containerId') ?? '')
        const [first] = found.code === 0 ? (JSON.parse(found.stdout) as unknown[]) : []
        return first === undefined ? { status: 400, json: { message: 'No such object' } } : ok(first)
      }
      default:
        return ask()
    }
  }

  return {
    rig: await openRig({ clock: systemClock, intercept }),
    machines: { run: runHere(docker) },
    address: UPLINK.there,
    setBuild(tag) {
      built = tag
    },
    route: front.route,
    running: appName =>
      sh('ps', '-q', '--no-trunc', '--filter', `label=com.docker.swarm.service.name=${appName}`)
        .trim()
        .split('\n')
        .filter(Boolean),
    close: registry.close,
  }
}

/** A real registry beside the daemon; it forgets everything with the test. */
async function startRegistry(docker: TestDocker): Promise<{ close(): Promise<void> }> {
  const config = join(docker.directory, 'registry.json')
  const storage = { filesystem: { rootdirectory: join(docker.directory, 'registry') } }
  // JSON is YAML.
  writeFileSync(config, JSON.stringify({ version: '0.1', log: { level: 'error' }, storage, http: { addr: REGISTRY } }))
  const { registry } = await findTools()
  // It ends with the tests however they end: else it would hold their network.
  const child = Bun.spawn(['setpriv', '--pdeathsig', 'KILL', ...docker.inside, registry, 'serve', config], {
    env: { OTEL_TRACES_EXPORTER: 'none' },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
  })
  const deadlineMs = performance.now() + 20_000
  while (docker.docker('pull', `${IMAGE}:none`).stderr.includes('refused')) {
    if (performance.now() > deadlineMs) throw new Error('The registry did not start.')
    await Bun.sleep(100)
  }
  return {
    async close() {
      child.kill()
      await child.exited
    },
  }
}

/** A cable from the tests into the daemon's network namespace. */
function connect({ inside }: TestDocker): void {
  const [name, far] = [`lfh${process.pid}`.slice(0, 15), `lfn${process.pid}`.slice(0, 15)]
  must([...inside, 'ip', 'link', 'add', far, 'type', 'veth', 'peer', 'name', name, 'netns', '1'])
  must([...inside, 'ip', 'address', 'add', `${UPLINK.there}/30`, 'dev', far])
  must([...inside, 'ip', 'link', 'set', far, 'up'])
  must(['ip', 'address', 'add', `${UPLINK.here}/30`, 'dev', name])
  must(['ip', 'link', 'set', name, 'up'])
}

/** A real nginx on the applications' network, which asks Docker's DNS anew every second; it waits for a connection as long as Traefik does. */
function startFront(docker: TestDocker) {
  const folder = join(docker.directory, 'front')
  mkdirSync(folder, { recursive: true })
  const routes = new Map<string, string>()
  const file = join(folder, 'nginx.conf')
  const write = () => {
    const servers = [...routes].map(
      ([host, upstream]) =>
        `server { listen 80; server_name ${host}; location / { set $app ${upstream}; proxy_pass http://$app; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
    )
    writeFileSync(
      file,
      `daemon off; user root; worker_processes 1; error_log stderr error; pid /run/nginx.pid; events { worker_connections 4096; }
http { access_log off; resolver 127.0.0.11 valid=1s ipv6=off; proxy_connect_timeout 30s; server_names_hash_bucket_size 128;
server { listen 80 default_server; return 404 "404 page not found\\n"; }
${servers.join('\n')} }\n`,
    )
  }
  write()
  const options = ['--name', 'front', '--network', NETWORK, '-p', '80:80', '-v', `${folder}:/front`]
  must(['docker', 'run', '-d', ...options, 'landfall-example/base:1', 'nginx', '-c', '/front/nginx.conf'], {
    env: docker.environment,
  })
  return {
    route(host: string, appName: string, port: number) {
      routes.set(host, `${appName}:${port}`)
      write()
      must(['docker', 'exec', 'front', 'nginx', '-c', '/front/nginx.conf', '-s', 'reload'], { env: docker.environment })
    },
  }
}

/** Runs Landfall's own programs where the daemon is; only the releases that a server keeps are kept in memory. */
function runHere(docker: TestDocker): Machines['run'] {
  const history = new Map<string, string[]>()
  return async (_target, program, input = {}): Promise<ProgramResult> => {
    const app = String(input.APP ?? '')
    const kept = history.get(app) ?? []
    if (program.name === 'read-app-history')
      return { exitCode: kept.length === 0 ? 4 : 0, stdout: kept.map(line => `${line}\n`).join(''), stderr: '' }
    if (program.name === 'append-app-history') {
      const entry = input.ENTRY
      const text = typeof entry === 'string' ? entry : (entry?.reveal() ?? '')
      history.set(app, [...kept, Buffer.from(text).toString('base64')])
      return { exitCode: 0, stdout: 'ok=1\n', stderr: '' }
    }
    const child = Bun.spawn([...docker.inside, 'sh', '-c', REMOTE_COMMAND], {
      env: { ...docker.environment },
      stdin: renderRequest(program, input),
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [stdout, stderr, exitCode] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ])
    return { exitCode, stdout, stderr }
  }
}
