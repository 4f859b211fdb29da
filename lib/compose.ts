/** Joins the adapters into what steps act through. Heavy modules are loaded here, on first need, so that `--help` costs nothing. */

import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readlinkSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { systemClock } from './engine/clock.ts'
import { writeFileAtomic } from './engine/files.ts'
import type { LockHost } from './engine/lock.ts'
import { createMeter, type Meter } from './engine/meter.ts'
import type { Readers } from './engine/world.ts'
import type { Environment } from './environment.ts'
import { LandfallError } from './errors.ts'
import type { Estate } from './estate/estate.ts'
import type { ProviderContext, Route } from './providers/context.ts'
import type { Cloud, CloudLocks } from './providers/ports/cloud.ts'
import type { Dns } from './providers/ports/dns.ts'
import type { Dokploy } from './providers/ports/dokploy.ts'
import type { DokployApps } from './providers/ports/dokploy-apps.ts'
import type { Machines, Target } from './providers/ports/machine.ts'
import type { Outside } from './providers/ports/outside.ts'
import type { Secret } from './secret.ts'
import type { Deps } from './steps/deps.ts'
import { createMachineReader } from './steps/machine.ts'
import { createOutsideReader } from './steps/outside.ts'
import { createPanelReader } from './steps/panel.ts'
import { type EstateWorld, estateReaders } from './steps/world.ts'

export interface ComposeOptions {
  readonly estate: Estate
  readonly environment: Environment
  /** Where this estate's keys, pins and journal lie; made, with mode 0700, by whoever writes there first. */
  readonly directory: string
  readonly signal: AbortSignal
  readonly log: (line: string) => void
  readonly takeOver: readonly string[]
}

export interface Composition {
  readonly deps: Deps
  readonly readers: Readers<EstateWorld>
  readonly locks: CloudLocks
  readonly meter: Meter
  readonly runId: string
  /** For adapters that only some commands need. */
  readonly parts: { readonly context: ProviderContext; readonly environment: Environment }
  /** What lives in the Dokploy on a machine, through the same tunnel as the panel. */
  appsOn(target: Target, apiKey: Secret): Promise<DokployApps>
  /** Called before each mutating request from now on. */
  guardWrites(guard: () => Promise<void>): void
  close(): Promise<void>
}

const HCLOUD_HINT =
  'Make one at console.hetzner.cloud → your project → Security → API tokens, with Read & Write, then: export HCLOUD_TOKEN=…  ' +
  '(or rehearse without any account: add --sandbox)'
const DIGITALOCEAN_HINT =
  'Make one at cloud.digitalocean.com → API → Tokens, with full access, then: export DIGITALOCEAN_TOKEN=…  ' +
  '(or rehearse without any account: add --sandbox)'
const CLOUDFLARE_HINT =
  'Make one at dash.cloudflare.com → My Profile → API Tokens with Zone → Zone → Read and Zone → DNS → Edit on this one zone, then: ' +
  'export CLOUDFLARE_API_TOKEN=…'

const notConfigured = (what: string, hint: string) => (): never => {
  throw new LandfallError('token_missing', `${what} is not set.`, { hint })
}

/** A port whose token is missing: using any part of it says which variable to set. */
function missing<T extends object>(what: string, hint: string): T {
  return new Proxy({} as T, { get: (_, key) => (key === 'then' ? undefined : notConfigured(what, hint)) })
}

export async function compose(options: ComposeOptions): Promise<Composition> {
  const { estate, environment, directory } = options
  const meter = createMeter()
  const runId = newRunId()
  let guard: () => Promise<void> = async () => {}
  const context: ProviderContext = {
    clock: systemClock,
    meter,
    signal: options.signal,
    random: Math.random,
    log: options.log,
    beforeWrite: () => guard(),
  }
  const route: Route = environment.internet ? { kind: 'proxy', ...environment.internet } : { kind: 'direct' }

  const { cloud, locks } = await composeCloud(estate, environment, context)
  const dns = composeDns(estate, environment, context)
  const machines = composeMachines(environment, directory, route, context)
  const outside = composeOutside(environment, route, context)
  const { PROGRAM_TEXTS: programs } = await import('./providers/ssh/programs.ts')

  const tunnels = new Map<string, Promise<{ panel: Dokploy; url: string; close(): Promise<void> }>>()
  const tunnelTo = async (target: Target) => {
    const key = `${target.hostKeyAlias} ${target.hostKey}`
    const open =
      tunnels.get(key) ??
      machines.forward(target, DOKPLOY_PORT).then(async ({ url, close }) => {
        const { createDokploy } = await import('./providers/dokploy/dokploy.ts')
        return { panel: createDokploy({ baseUrl: url, context }), url, close }
      })
    tunnels.set(key, open)
    try {
      return await open
    } catch (error) {
      tunnels.delete(key)
      throw error
    }
  }

  const panelOn: Deps['panelOn'] = async target => (await tunnelTo(target)).panel
  const appsOn: Composition['appsOn'] = async (target, apiKey) => {
    const [{ url }, { createDokployApps }] = await Promise.all([tunnelTo(target), import('./providers/dokploy/apps.ts')])
    return createDokployApps({ baseUrl: url, apiKey, context })
  }

  const deps: Deps = {
    estate,
    runId,
    clock: systemClock,
    cloud,
    dns,
    machines,
    programs,
    panelOn,
    outside,
    takeOver: options.takeOver,
  }
  const readers = estateReaders(estate, {
    cloud,
    dns,
    machines: createMachineReader(deps),
    panels: createPanelReader(deps),
    outside: createOutsideReader(deps),
    ownAddresses: () => outside.findOwnAddresses(),
  })
  return {
    deps,
    readers,
    locks,
    meter,
    runId,
    parts: { context, environment },
    appsOn,
    guardWrites: next => {
      guard = next
    },
    async close() {
      await Promise.allSettled([...tunnels.values()].map(async tunnel => (await tunnel).close()))
    },
  }
}

const DOKPLOY_PORT = 3000

/** Sortable, unique, and within the label grammar. */
const newRunId = (): string =>
  `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}-${randomUUID().slice(0, 8)}`

async function composeCloud(
  estate: Estate,
  environment: Environment,
  context: ProviderContext,
): Promise<{ cloud: Cloud; locks: CloudLocks }> {
  if (estate.cloud === 'digitalocean') return composeDigitalOcean(environment, context)
  const token = environment.hcloudToken
  if (!token)
    return { cloud: missing<Cloud>('HCLOUD_TOKEN', HCLOUD_HINT), locks: missing<CloudLocks>('HCLOUD_TOKEN', HCLOUD_HINT) }
  const { createHetzner } = await import('./providers/hetzner/hetzner.ts')
  const hetzner = createHetzner({
    token,
    context,
    ...(environment.hcloudEndpoint ? { endpoint: environment.hcloudEndpoint } : {}),
  })
  return { cloud: hetzner, locks: hetzner.locks }
}

async function composeDigitalOcean(environment: Environment, context: ProviderContext) {
  const token = environment.digitaloceanToken
  const name = 'DIGITALOCEAN_TOKEN'
  if (!token) return { cloud: missing<Cloud>(name, DIGITALOCEAN_HINT), locks: missing<CloudLocks>(name, DIGITALOCEAN_HINT) }
  const { createDigitalOcean } = await import('./providers/digitalocean/digitalocean.ts')
  const endpoint = environment.digitaloceanEndpoint ? { endpoint: environment.digitaloceanEndpoint } : {}
  const digitalocean = createDigitalOcean({ token, context, ...endpoint })
  return { cloud: digitalocean, locks: digitalocean.locks }
}

function composeDns(estate: Estate, environment: Environment, context: ProviderContext): Dns {
  const token = environment.cloudflareToken
  if (!token || !estate.dns) return missing<Dns>('CLOUDFLARE_API_TOKEN', CLOUDFLARE_HINT)
  const endpoint = environment.cloudflareBaseUrl ?? checkedBaseUrl(estate)
  return lazy(async () => {
    const { createCloudflare } = await import('./providers/cloudflare/cloudflare.ts')
    return createCloudflare({ token, context, ...(endpoint ? { endpoint } : {}) })
  })
}

function composeOutside(environment: Environment, route: Route, context: ProviderContext): Outside {
  const { internet, resolver, caFile } = environment
  return lazy(async () => {
    const { createOutside } = await import('./providers/outside/outside.ts')
    return createOutside({
      route,
      context,
      ...(resolver ? { resolver } : {}),
      ...(caFile ? { caPem: readFileSync(caFile, 'utf8') } : {}),
      ...(internet ? { whoamiUrl: `http://${internet.host}:${internet.port}/whoami{family}` } : {}),
    })
  })
}

const CLOUDFLARE_HOST = 'api.cloudflare.com'

/** A config file may not send the token to another host: only the environment may. */
function checkedBaseUrl(estate: Estate): string | undefined {
  if (!estate.cloudflareBaseUrl || new URL(estate.cloudflareBaseUrl).host === CLOUDFLARE_HOST) return estate.cloudflareBaseUrl
  throw new LandfallError(
    'refused',
    `config.json would send the Cloudflare token to ${new URL(estate.cloudflareBaseUrl).host}.`,
    {
      hint: `If that is what you want, say it in the environment: export CLOUDFLARE_BASE_URL=${estate.cloudflareBaseUrl}`,
    },
  )
}

function composeMachines(environment: Environment, directory: string, route: Route, context: ProviderContext): Machines {
  const own = join(directory, 'id_ed25519')
  const identityFile = environment.sshKeyFile ?? (existsSync(own) ? resolve(own) : undefined)
  return lazy(async () => {
    const { createMachines } = await import('./providers/ssh/ssh.ts')
    return createMachines({ directory, route, context, ...(identityFile ? { identityFile } : {}) })
  })
}

/** A port that is loaded with its first call; every method of a port answers with a promise, so nobody can tell. */
function lazy<T extends object>(load: () => Promise<T>): T {
  let port: Promise<T> | undefined
  return new Proxy({} as T, {
    get(_, key) {
      // Awaiting the proxy itself must not load it.
      if (key === 'then') return undefined
      return async (...values: unknown[]) => {
        port ??= load()
        const method: unknown = Reflect.get(await port, key)
        if (typeof method !== 'function') throw new Error(`bug: the port has no method ${String(key)}`)
        return method(...values)
      }
    },
  })
}

/**
 * The public keys that servers of this estate get: those in config.json, else the operator's own, else one made for this estate.
 * The private half of a made key stays in the estate's directory, mode 0600; a run that only looks keeps none, and so leaves no trace.
 */
export async function findPublicKeys(
  environment: Environment,
  directory: string,
  looksOnly: boolean,
): Promise<{ name: string; publicKey: string }[]> {
  const own = join(directory, 'id_ed25519')
  const candidates = environment.sshKeyFile
    ? [`${environment.sshKeyFile}.pub`]
    : [
        `${own}.pub`,
        ...(environment.internet
          ? []
          : ['id_ed25519.pub', 'id_ecdsa.pub', 'id_rsa.pub'].map(name => join(environment.home, '.ssh', name))),
      ]
  const found = candidates.find(path => existsSync(path))
  if (found) return [{ name: userName(), publicKey: readFileSync(found, 'utf8').trim() }]
  if (environment.sshKeyFile)
    throw new LandfallError(
      'config',
      `LANDFALL_SSH_KEY names ${environment.sshKeyFile}, but ${environment.sshKeyFile}.pub is not there.`,
      {
        hint: `Make it: ssh-keygen -y -f ${environment.sshKeyFile} > ${environment.sshKeyFile}.pub`,
      },
    )
  const { generateKey } = await import('./providers/ssh/keys.ts')
  const pair = await generateKey()
  if (looksOnly) return [{ name: userName(), publicKey: pair.publicKey }]
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  await writeFileAtomic(own, pair.privateKey.reveal(), 0o600)
  await writeFileAtomic(`${own}.pub`, `${pair.publicKey}\n`, 0o600)
  return [{ name: userName(), publicKey: pair.publicKey }]
}

const testContext = (): ProviderContext => ({
  clock: systemClock,
  meter: createMeter(),
  signal: AbortSignal.timeout(60_000),
  random: Math.random,
  log: () => {},
  beforeWrite: async () => {},
})

/** One or two cheap requests each, to tell a wrong token the moment it is typed; sent where the run's own will be sent. */
export const testTokens = ({ hcloudEndpoint, cloudflareBaseUrl }: Environment) => ({
  async hcloud(token: Secret): Promise<void> {
    const { createHetzner } = await import('./providers/hetzner/hetzner.ts')
    const endpoint = hcloudEndpoint ? { endpoint: hcloudEndpoint } : {}
    const hetzner = createHetzner({ token, context: testContext(), ...endpoint })
    await hetzner.verifyToken()
    await hetzner.probeWrite()
  },
  async cloudflare(token: Secret): Promise<void> {
    const { createCloudflare } = await import('./providers/cloudflare/cloudflare.ts')
    const endpoint = cloudflareBaseUrl ? { endpoint: cloudflareBaseUrl } : {}
    await createCloudflare({ token, context: testContext(), ...endpoint }).verifyToken()
  },
})

/** The operator's name as far as the system tells; Bun asks the environment alone, which CI leaves empty. */
const userName = (): string => {
  const { username, uid } = userInfo()
  return username !== 'unknown' ? username : uid === 0 ? 'root' : `uid-${uid}`
}

/** Who runs this, for the lock and the journal. */
export function describeHost(): LockHost {
  const read = (path: string): string[] => (existsSync(path) ? [readFileSync(path, 'utf8').trim()] : [])
  // Two processes see each other's pids only in one boot of one machine, and in one pid namespace.
  const namespace = existsSync('/proc/self/ns/pid') ? [readlinkSync('/proc/self/ns/pid')] : []
  const identity = [hostname(), ...read('/etc/machine-id'), ...read('/proc/sys/kernel/random/boot_id'), ...namespace]
  return {
    who: `${userName()}@${hostname()}`,
    hostId: createHash('sha256').update(identity.join(' ')).digest('hex').slice(0, 16),
    pid: process.pid,
    isPidAlive,
  }
}

function isPidAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it exists and belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
