/** A world of its own for one trial: a sandbox in this process and a state directory, empty or copied from a prepared one. */

import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Hooks } from '../../../lib/sandbox/kit.ts'
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { plantStrangers, ZONE } from './strangers.ts'

/** Memory where there is some: fsync is not what is measured here. */
const BASE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

export const CONFIG = 'estate.json'

const PLAIN = { https: false }

/** One server with everything that `app.ts` sets up in Dokploy. */
export const platformConfig = (tag: string) => ({
  hetzner: { location: 'nbg1', server_types: { prod: 'cx33' } },
  dns: { domain: ZONE },
  apps: {
    web: {
      source: { image: `ghcr.io/acme/web:${tag}` },
      env_file: '.env.web',
      domains: [{ host: `web.${ZONE}`, ...PLAIN }],
      health: { path: '/', interval_s: 1, start_s: 1 },
      version: { header: 'x-version' },
    },
    site: {
      source: { github: 'acme/site' },
      domains: [{ host: `site.${ZONE}`, ...PLAIN }],
      post_deploy: { action: 'flush', url_env: 'FLUSH_URL' },
    },
    stack: {
      compose: { file: 'compose.yml' },
      domains: [{ host: `stack.${ZONE}`, service: 'web', port: 8080, ...PLAIN }],
      post_deploy: { action: 'selective', service: 'cache', pattern: 'user:*' },
    },
  },
  databases: { main: {} },
  buckets: { s3: { endpoint: 'https://s3.example.net', bucket: 'acme', access_key_env: 'S3_KEY', secret_key_env: 'S3_SECRET' } },
  backups: { db: { database: 'main' }, panel: { panel: 'prod' } },
  notifications: { ops: { kind: 'discord', url_env: 'DISCORD_URL' } },
})

export const dropletsConfig = (ports: readonly number[] = [22, 443], wall = 'web') => ({
  project: 'example',
  digitalocean: { region: 'fra1', size: 's-1vcpu-2gb' },
  servers: { backend: { count: 2 } },
  firewalls: { [wall]: ports.map(port => ({ port, from: ['anywhere'], why: `port ${port}` })) },
})

/** Two servers with Dokploy, of the two types. */
export const pairConfig = (dev: string, prod: string) => ({
  hetzner: { location: 'nbg1', server_types: { dev, prod, packer_build: 'cx23' } },
  dns: { domain: ZONE, admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
})

/** One server behind firewalls of its own, in a network or not. */
export const walledConfig = (ports: Readonly<Record<string, number>>, more: { readonly network?: object } = {}) => ({
  project: 'example',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  servers: { app: { type: 'cx23', firewalls: Object.keys(ports) } },
  firewalls: Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, [{ port, from: ['anywhere'], why: name }]])),
  ...more,
})

export const REPOSITORY = 'acme/web'

export const BACKEND = 'https://github.com/example/backend.git'

/** A backend on NixOS over a stock droplet. */
export const backendConfig = (size: string) => ({
  project: 'example',
  digitalocean: { region: 'fra1', size },
  dns: { domain: ZONE },
  servers: { backend: { os: 'nixos' } },
  service: {
    server: 'backend',
    repository: BACKEND,
    branch: 'main',
    profile: 'prod',
    subdomain: 'backend',
    port: 3000,
    health: '/',
  },
  firewalls: { backend: [22, 80, 443].map(port => ({ port, from: ['anywhere'], why: `port ${port}` })) },
})

/** Pull requests whose previews share one server, or have one each beside it. */
const previewsConfig = (substrate: 'shared' | 'servers') => ({
  project: 'example',
  hetzner: { location: 'nbg1', image: 'ubuntu-24.04' },
  dns: { domain: ZONE },
  network: {},
  servers: { previews: { type: 'cx33', firewalls: ['edge'] } },
  firewalls: { edge: [22, 80, 443].map(port => ({ port, from: ['anywhere'], why: 'visitors' })) },
  previews: {
    repository: REPOSITORY,
    substrate,
    host: 'previews',
    ...(substrate === 'servers' ? { type: 'cx23' } : {}),
  },
})

/** A Dokploy server, and so many that work for its swarm. */
export const crewConfig = (workers: number) => ({
  project: 'example',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: {},
  dokploy: { admin_email: 'admin@example.com' },
  servers: {
    prod: { type: 'cx33', dokploy: true },
    ...(workers === 0 ? {} : { worker: { type: 'cx23', count: workers, joins: 'prod' } }),
  },
})

interface EstateSpec {
  readonly config: unknown
  /** Beside the config. */
  readonly files: Readonly<Record<string, string>>
  readonly environment: Readonly<Record<string, string>>
}

/** What operators have in their directory. */
const ESTATES = {
  pair: {
    config: pairConfig('cx23', 'cx33'),
    files: {},
    environment: {},
  },
  droplets: {
    config: dropletsConfig(),
    files: {},
    environment: {},
  },
  walled: {
    config: walledConfig({ ssh: 22, legacy: 8080 }),
    files: {},
    environment: {},
  },
  crew: {
    config: crewConfig(0),
    files: {},
    environment: {},
  },
  backend: {
    config: backendConfig('s-1vcpu-2gb'),
    files: {},
    environment: {},
  },
  'shared previews': {
    config: previewsConfig('shared'),
    files: {},
    environment: {},
  },
  'previews on servers': {
    config: previewsConfig('servers'),
    files: {},
    environment: {},
  },
  platform: {
    config: platformConfig('1'),
    files: {
      '.env.web': 'NODE_ENV=production\nAPI_KEY=some-key\n',
      'compose.yml': 'services:\n  web:\n    image: nginx:1.27\n  cache:\n    image: redis:8\n',
    },
    environment: {
      FLUSH_URL: 'https://site.example.com/flush',
      DISCORD_URL: 'https://discord.example.com/hook',
      S3_KEY: 'AKIAEXAMPLE',
      S3_SECRET: 's3-secret-of-the-test',
    },
  },
} as const satisfies Record<string, EstateSpec>

export type EstateName = keyof typeof ESTATES
const isEstate = (text: string): text is EstateName => Object.hasOwn(ESTATES, text)

/** Actions take milliseconds: what is tried is order and failure, not patience. */
export const QUICK = {
  actionMs: { create_server: 15, start_server: 10, other: 5 },
  bootMs: 10,
  dokployStartMs: 20,
  rateLimits: false,
}

export interface Theatre {
  readonly sandbox: Sandbox
  /** The operator's directory, with the config and `.landfall`. */
  readonly cwd: string
  /** The sandbox's, and the secrets that the config names. */
  readonly environment: Readonly<Record<string, string>>
  /** Asked before and after each effect; may be set at any time. */
  hooks: Hooks
  /** Keeps the world and the state directory as a folder to begin other theatres from. */
  save(folder: string): Promise<void>
  close(): Promise<void>
}

export interface OpenTheatre {
  /** A folder that was saved; it brings its estate along. */
  readonly from?: string
  /** `pair` where absent. */
  readonly estate?: EstateName
  readonly settings?: SandboxOptions['settings']
  readonly seed?: SandboxOptions['seed']
  readonly clock?: SandboxOptions['clock']
}

export async function openTheatre({ from, estate = 'pair', settings, seed, clock }: OpenTheatre = {}): Promise<Theatre> {
  const folder = mkdtempSync(join(BASE, 'landfall-faults-'))
  const cwd = join(folder, 'home')
  if (from) copy(from, folder)
  else furnish(folder, cwd, estate)
  const name = readFileSync(join(folder, 'estate'), 'utf8')
  if (!isEstate(name)) throw new Error(`there is no estate "${name}"`)
  let hooks: Hooks = {}
  const sandbox = await startSandbox({
    path: join(folder, 'world.sqlite'),
    seed: { zones: [ZONE], goldenImage: true, ...seed },
    settings: { ...QUICK, ...settings },
    ...(clock ? { clock } : {}),
    hooks: {
      beforeEffect: about => hooks.beforeEffect?.(about),
      afterEffect: about => hooks.afterEffect?.(about),
      afterAnswer: about => hooks.afterAnswer?.(about),
      beforeProgram: about => hooks.beforeProgram?.(about),
      afterProgram: about => hooks.afterProgram?.(about),
      afterProgramAnswer: about => hooks.afterProgramAnswer?.(about),
    },
  })
  if (!from) await plantStrangers(sandbox)
  let closed = false
  const close = async (): Promise<void> => {
    if (closed) return
    closed = true
    await sandbox.close()
    rmSync(folder, { recursive: true, force: true })
  }
  return {
    sandbox,
    cwd,
    environment: { ...sandbox.environment, ...ESTATES[name].environment },
    get hooks() {
      return hooks
    },
    set hooks(next) {
      hooks = next
    },
    async save(target) {
      closed = true
      await sandbox.close()
      mkdirSync(target, { recursive: true })
      copy(folder, target)
      rmSync(folder, { recursive: true, force: true })
    },
    close,
  }
}

const furnish = (folder: string, cwd: string, name: EstateName): void => {
  const { config, files } = ESTATES[name]
  mkdirSync(cwd)
  writeFileSync(join(folder, 'estate'), name)
  for (const [file, text] of Object.entries({ ...files, [CONFIG]: JSON.stringify(config) })) writeFileSync(join(cwd, file), text)
}

/** Sockets of shared ssh connections are left out: they belong to processes of the other world. */
const copy = (from: string, to: string): void =>
  cpSync(from, to, { recursive: true, filter: source => !lstatSync(source).isSocket() && !source.endsWith('/ctl') })
