/** Which commands are killed in which worlds, and how those worlds come about. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, readImageSource } from '../../../lib/image/source.ts'
import { SANDBOX_TOKENS } from '../../../lib/sandbox/sandbox.ts'
import { type Answer, lastError, run } from '../harness/product.ts'
import { ZONE } from '../harness/strangers.ts'
import {
  BACKEND,
  backendConfig,
  CONFIG,
  crewConfig,
  dropletsConfig,
  type EstateName,
  openTheatre,
  pairConfig,
  platformConfig,
  REPOSITORY,
  type Theatre,
  walledConfig,
} from '../harness/theatre.ts'

export type WorldName =
  | 'empty'
  | 'provisioned'
  | 'named'
  | 'registered'
  | 'half'
  | 'full'
  | 'unguarded'
  | 'other walls'
  | 'drifted'
  | 'no droplets'
  | 'droplets'
  | 'one droplet'
  | 'other ports'
  | 'other droplet walls'
  | 'no apps'
  | 'panel'
  | 'apps'
  | 'changed app'
  | 'app to deploy'
  | 'two versions'
  | 'worker to come'
  | 'crew'
  | 'worker to go'
  | 'no backend'
  | 'backend'
  | 'newer backend'
  | 'larger backend'
  | 'other sizes'
  | 'changed variables'
  | 'backed up'
  | 'no variables here'
  | 'old images'
  | 'built'
  | 'pulls'
  | 'previews'
  | 'moved pulls'
  | 'pulls for servers'
  | 'preview servers'
  | 'moved pulls on servers'

export interface Scenario {
  readonly name: string
  readonly command: readonly string[]
  readonly world: WorldName
  /** Typed at a terminal, which the command is started in when there are some. */
  readonly answers?: readonly Answer[]
}

const SOMEBODY = { email: 'somebody@example.com', password: 'a-password-of-theirs' } as const
/** A simulated container is stable at once. */
const QUICKLY = ['--stable', '0.1']
const FLAGS = ['--yes', '--json', '--config', CONFIG]
const DESTROYS = ['--confirm', 'example']

const scenario = (world: WorldName, ...words: string[]): Scenario => ({
  name: `${words.join(' ')} in the ${world} world`,
  command: [...words, ...FLAGS, ...(words.some(word => word === 'destroy' || word === 'rebuild') ? DESTROYS : [])],
  world,
})

export const SCENARIOS: readonly Scenario[] = [
  scenario('empty', 'setup'),
  scenario('half', 'setup'),
  scenario('drifted', 'setup'),
  scenario('full', 'setup'),
  scenario('empty', 'provision', 'apply'),
  scenario('half', 'provision', 'apply'),
  scenario('full', 'provision', 'apply'),
  scenario('full', 'provision', 'destroy'),
  scenario('half', 'provision', 'destroy'),
  scenario('full', 'destroy'),
  scenario('provisioned', 'destroy'),
  scenario('empty', 'destroy'),
  scenario('empty', 'firewall', 'apply'),
  scenario('drifted', 'firewall', 'apply'),
  scenario('full', 'firewall', 'apply'),
  scenario('unguarded', 'firewall', 'apply'),
  scenario('other walls', 'provision', 'apply'),
  scenario('other droplet walls', 'provision', 'apply'),
  scenario('drifted', 'firewall', 'allow-me'),
  scenario('full', 'firewall', 'allow-me'),
  scenario('named', 'dokploy', 'apply'),
  scenario('full', 'dokploy', 'apply'),
  {
    name: 'dokploy adopt in the registered world',
    command: ['dokploy', 'adopt', 'prod-dokploy', '--config', CONFIG],
    world: 'registered',
    answers: [
      { to: 'The e-mail of its admin', say: SOMEBODY.email },
      { to: 'Its password', say: SOMEBODY.password },
    ],
  },
  scenario('provisioned', 'dns'),
  scenario('drifted', 'dns'),
  scenario('full', 'dns'),
  scenario('no droplets', 'setup'),
  scenario('one droplet', 'provision', 'apply'),
  scenario('other ports', 'firewall', 'apply'),
  scenario('droplets', 'destroy'),
  scenario('panel', 'app'),
  scenario('apps', 'app'),
  scenario('changed app', 'app'),
  scenario('app to deploy', 'deploy', 'web', ...QUICKLY),
  scenario('two versions', 'rollback', 'web', '--to', '1', ...QUICKLY),
  scenario('apps', 'destroy'),
  scenario('worker to come', 'setup'),
  scenario('worker to go', 'setup', ...DESTROYS),
  scenario('other sizes', 'provision', 'scale'),
  scenario('built', 'provision', 'rebuild'),
  scenario('crew', 'provision', 'rebuild'),
  scenario('droplets', 'provision', 'rebuild'),
  scenario('no backend', 'service'),
  scenario('newer backend', 'service', 'update'),
  scenario('larger backend', 'service', 'scale'),
  scenario('changed variables', 'env', 'push', 'web'),
  scenario('no variables here', 'env', 'pull', 'web'),
  scenario('backed up', 'backup', 'drill'),
  scenario('old images', 'image', 'prune', '--keep', '1', ...DESTROYS),
  scenario('pulls', 'preview', 'event'),
  scenario('moved pulls', 'preview', 'event'),
  scenario('previews', 'preview', 'destroy', '12'),
  scenario('pulls for servers', 'preview', 'event'),
  scenario('moved pulls on servers', 'preview', 'event'),
]

interface Recipe {
  /** The world that is changed; without one a new estate begins. */
  readonly from: WorldName | undefined
  readonly estate?: EstateName
  readonly change: (theatre: Theatre) => Promise<void>
}

export interface Worlds {
  /** A folder to open theatres from. */
  folder(name: WorldName): Promise<string>
  remove(): void
}

export function createWorlds(): Worlds {
  const base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'landfall-worlds-'))
  const made = new Map<WorldName, Promise<string>>()
  const folder = (name: WorldName): Promise<string> => {
    const making = made.get(name) ?? make(name)
    made.set(name, making)
    return making
  }
  const make = async (name: WorldName): Promise<string> => {
    const recipe: Recipe = RECIPES[name]
    const { from, estate, change } = recipe
    const theatre = await openTheatre(from ? { from: await folder(from) } : estate ? { estate } : {})
    await change(theatre)
    const target = join(base, name)
    await theatre.save(target)
    return target
  }
  return { folder, remove: () => rmSync(base, { recursive: true, force: true }) }
}

const apply =
  (...words: string[]) =>
  async (theatre: Theatre): Promise<void> => {
    const ended = await run({ command: [...words, ...FLAGS], cwd: theatre.cwd, env: theatre.environment })
    if (ended.exitCode !== 0) throw new Error(`preparing a world with "${words.join(' ')}" failed: ${lastError(ended)}`)
  }

const call = async ({ sandbox }: Theatre, method: string, path: string, body?: unknown): Promise<void> => {
  const answer = await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}${path}`, {
    method,
    headers: { Authorization: `Bearer ${SANDBOX_TOKENS.hetzner}`, 'Content-Type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  if (!answer.ok) throw new Error(`preparing a world: ${method} ${path}: ${await answer.text()}`)
  while (sandbox.controls.hetzner.nextEventAtMs() !== undefined) {
    await Bun.sleep(5)
    sandbox.controls.hetzner.settle()
  }
}

const idOf = (theatre: Theatre, kind: 'servers' | 'firewalls', name: string): number => {
  const row = theatre.sandbox.controls.hetzner.dump()[kind].find(each => each.name === name)
  if (!row) throw new Error(`there is no ${name} among the ${kind}`)
  return row.id
}

/** Those that are ready, and a draft. */
const openPulls =
  (...ready: readonly number[]) =>
  async ({ sandbox: { controls } }: Theatre): Promise<void> => {
    controls.github.addRepository(REPOSITORY)
    for (const number of ready) controls.github.setPull(REPOSITORY, number)
    controls.github.setPull(REPOSITORY, 14, { draft: true })
  }

const RECIPES = {
  empty: { from: undefined, change: async () => undefined },
  provisioned: { from: 'empty', change: apply('provision', 'apply') },
  named: { from: 'provisioned', change: apply('dns') },
  registered: {
    from: 'named',
    change: async ({ sandbox }: Theatre) =>
      sandbox.controls.machines.dokploy('prod-dokploy').register(SOMEBODY.email, SOMEBODY.password),
  },
  half: {
    from: 'provisioned',
    change: (theatre: Theatre) => call(theatre, 'DELETE', `/servers/${idOf(theatre, 'servers', 'prod-dokploy')}`),
  },
  full: {
    from: 'empty',
    async change(theatre: Theatre) {
      await apply('setup')(theatre)
      await apply('firewall', 'allow-me')(theatre)
    },
  },
  /** Somebody opened a port, closed the admin's way in on one server, let another address in, and moved a name. */
  drifted: {
    from: 'full',
    async change(theatre: Theatre) {
      const wall = idOf(theatre, 'firewalls', 'example-dokploy')
      const admin = idOf(theatre, 'firewalls', 'example-admin')
      const everybody = ['0.0.0.0/0', '::/0']
      const rule = (port: string, source_ips: readonly string[], description: string) => ({
        direction: 'in',
        protocol: 'tcp',
        port,
        source_ips,
        description,
      })
      await call(theatre, 'POST', `/firewalls/${wall}/actions/set_rules`, {
        rules: ['22', '80', '443', '5432'].map(port => rule(port, everybody, 'opened in a hurry')),
      })
      const [{ description } = { description: '' }] =
        theatre.sandbox.controls.hetzner.dump().firewalls.find(each => each.id === admin)?.rules ?? []
      await call(theatre, 'POST', `/firewalls/${admin}/actions/set_rules`, {
        rules: [rule('3000', ['192.0.2.77/32'], description ?? ''), rule('3000', ['192.0.2.99/32'], 'allow-me colleague@office')],
      })
      await call(theatre, 'POST', `/firewalls/${admin}/actions/remove_from_resources`, {
        remove_from: [{ type: 'server', server: { id: idOf(theatre, 'servers', 'prod-dokploy') } }],
      })
      await moveRecord(theatre)
    },
  },
  /** Somebody took a server's firewall off it. */
  unguarded: {
    from: 'provisioned',
    change: (theatre: Theatre) =>
      call(theatre, 'POST', `/firewalls/${idOf(theatre, 'firewalls', 'example-dokploy')}/actions/remove_from_resources`, {
        remove_from: [{ type: 'server', server: { id: idOf(theatre, 'servers', 'prod-dokploy') } }],
      }),
  },
  /** One firewall is to go, another takes its place, and there shall be a network. */
  'other walls': {
    from: undefined,
    estate: 'walled',
    async change(theatre: Theatre) {
      await apply('provision', 'apply')(theatre)
      writeConfig(theatre, walledConfig({ ssh: 22, web: 443 }, { network: {} }))
    },
  },
  'other droplet walls': {
    from: 'droplets',
    change: async (theatre: Theatre) => writeConfig(theatre, dropletsConfig([22, 443], 'edge')),
  },
  'no droplets': { from: undefined, estate: 'droplets', change: async () => undefined },
  droplets: { from: 'no droplets', change: apply('setup') },
  'one droplet': {
    from: 'droplets',
    async change({ sandbox: { controls, environment } }: Theatre) {
      const id = controls.digitalocean.dump().droplets.find(each => each.name === 'backend-2')?.id
      const answer = await fetch(`${environment.DIGITALOCEAN_ENDPOINT}/droplets/${id}`, {
        method: 'DELETE',
        headers: { Authorization: `Bearer ${SANDBOX_TOKENS.digitalocean}` },
      })
      if (!answer.ok) throw new Error(`preparing a world: ${await answer.text()}`)
      while (controls.digitalocean.nextEventAtMs() !== undefined) {
        await Bun.sleep(5)
        controls.digitalocean.settle()
      }
    },
  },
  'other ports': {
    from: 'droplets',
    change: async (theatre: Theatre) => writeConfig(theatre, dropletsConfig([22, 4444])),
  },
  'no apps': { from: undefined, estate: 'platform', change: async () => undefined },
  panel: {
    from: 'no apps',
    async change(theatre: Theatre) {
      await apply('setup')(theatre)
      theatre.sandbox.controls.machines.dokploy('prod-dokploy').apps.setTiming({ queueMs: 5, buildMs: 10, startMs: 20 })
    },
  },
  apps: {
    from: 'panel',
    async change(theatre: Theatre) {
      await apply('app')(theatre)
      await apply('deploy', 'web', ...QUICKLY)(theatre)
    },
  },
  'changed app': {
    from: 'apps',
    change: async (theatre: Theatre) => writeConfig(theatre, platformConfig('2')),
  },
  'app to deploy': { from: 'changed app', change: apply('app') },
  'two versions': { from: 'app to deploy', change: apply('deploy', 'web', ...QUICKLY) },
  'worker to come': {
    from: undefined,
    estate: 'crew',
    async change(theatre: Theatre) {
      await apply('setup')(theatre)
      writeConfig(theatre, crewConfig(1))
    },
  },
  crew: { from: 'worker to come', change: apply('setup') },
  'worker to go': { from: 'crew', change: async (theatre: Theatre) => writeConfig(theatre, crewConfig(0)) },
  'no backend': { from: undefined, estate: 'backend', change: async () => undefined },
  backend: { from: 'no backend', change: apply('service') },
  'newer backend': {
    from: 'backend',
    change: async ({ sandbox }: Theatre) => void sandbox.controls.machines.pushRevision(BACKEND, true),
  },
  'larger backend': {
    from: 'backend',
    change: async (theatre: Theatre) => writeConfig(theatre, backendConfig('s-2vcpu-4gb')),
  },
  'other sizes': { from: 'full', change: async (theatre: Theatre) => writeConfig(theatre, pairConfig('cx33', 'cx43')) },
  'changed variables': {
    from: 'apps',
    change: async ({ cwd }: Theatre) => writeFileSync(join(cwd, '.env.web'), 'NODE_ENV=production\nAPI_KEY=another-key\nNEW=1\n'),
  },
  'no variables here': { from: 'apps', change: async ({ cwd }: Theatre) => rmSync(join(cwd, '.env.web')) },
  'backed up': { from: 'apps', change: apply('backup', 'drill', '--now') },
  'old images': {
    from: 'empty',
    async change({ sandbox }: Theatre) {
      const golden = { project: 'sandbox', labels: { 'landfall/image': 'nixos-dokploy' }, diskGb: 40, sizeGb: 2 }
      for (const description of ['second', 'third', 'fourth'])
        sandbox.controls.hetzner.seedGoldenImage({ ...golden, description })
    },
  },
  /** The golden image of these very sources is there, so that nobody starts Packer. */
  built: {
    from: 'full',
    async change({ sandbox }: Theatre) {
      const labels = { 'landfall/image': 'nixos-dokploy', 'landfall/content': readImageSource(ROOT).content }
      sandbox.controls.hetzner.seedGoldenImage({
        project: 'sandbox',
        labels,
        description: 'of these sources',
        diskGb: 40,
        sizeGb: 2,
      })
    },
  },
  pulls: { from: undefined, estate: 'shared previews', change: openPulls(12, 13) },
  previews: { from: 'pulls', change: apply('preview', 'event') },
  /** One got a commit, one was closed, the draft is ready. */
  'moved pulls': {
    from: 'previews',
    async change({ sandbox: { controls } }: Theatre) {
      controls.github.setPull(REPOSITORY, 12, { sha: 'c'.repeat(40) })
      controls.github.setPull(REPOSITORY, 13, { state: 'closed' })
      controls.github.setPull(REPOSITORY, 14, { draft: false })
    },
  },
  'pulls for servers': { from: undefined, estate: 'previews on servers', change: openPulls(12) },
  'preview servers': { from: 'pulls for servers', change: apply('preview', 'event') },
  /** One server is to go, and one to come. */
  'moved pulls on servers': {
    from: 'preview servers',
    async change({ sandbox: { controls } }: Theatre) {
      controls.github.setPull(REPOSITORY, 12, { state: 'closed' })
      controls.github.setPull(REPOSITORY, 14, { draft: false })
    },
  },
} satisfies Record<WorldName, Recipe>

const writeConfig = ({ cwd }: Theatre, config: unknown): void => writeFileSync(join(cwd, CONFIG), JSON.stringify(config))

const moveRecord = async ({ sandbox }: Theatre): Promise<void> => {
  const record = sandbox.controls.cloudflare.records(ZONE).find(each => each.name === `admin.${ZONE}` && each.type === 'A')
  const zone = sandbox.controls.cloudflare.zones().find(each => each.name === ZONE)
  const answer = await fetch(`${sandbox.environment.CLOUDFLARE_BASE_URL}/zones/${zone?.id}/dns_records/${record?.id}`, {
    method: 'PATCH',
    headers: { Authorization: `Bearer ${SANDBOX_TOKENS.cloudflare}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ content: '192.0.2.50' }),
  })
  if (!answer.ok) throw new Error(`preparing a world: ${await answer.text()}`)
}
