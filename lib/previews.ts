/** Previews opened: the estate with a server for each pull request that needs one, GitHub joined, and the plan that every command carries out. */

import { orderingOf } from './certificates.ts'
import { converge } from './converge.ts'
import { World } from './engine/world.ts'
import { hasCode, LandfallError } from './errors.ts'
import type { Estate } from './estate/estate.ts'
import { previewFirewallName } from './estate/naming.ts'
import { type PreviewSpec, previewHost, previewServerSpec } from './estate/previews.ts'
import type { Command, Words } from './preview/desired.ts'
import type { PullRequests } from './providers/ports/github.ts'
import type { Opened, Session } from './script.ts'
import { Secret } from './secret.ts'
import type { Deps, EstateStep } from './steps/deps.ts'
import { recordStep, zoneStep } from './steps/dns.ts'
import { estateSteps } from './steps/estate.ts'
import { guardStep } from './steps/guard.ts'
import { createMachineReader, machineStep } from './steps/machine.ts'
import { previewHostStep, previewStep, removalStep } from './steps/preview.ts'
import { type PreviewCertificateDeps, previewCertificateStep } from './steps/preview-certificate.ts'
import { commentStep } from './steps/preview-comment.ts'
import { edgeStep } from './steps/preview-deploy.ts'
import { runsIn, straysIn, verdictsIn } from './steps/preview-kit.ts'
import { previewServers, readPreviewsOn, readPulls } from './steps/preview-world.ts'
import { runningStep, serverStep } from './steps/server.ts'
import { type EstateWorld, estateReaders } from './steps/world.ts'
import { commandLine } from './view.ts'

const GITHUB_HINT =
  'Make a token at github.com → Settings → Developer settings → Fine-grained tokens with "Pull requests: read and write" and "Metadata: read" on this repository, then: export GITHUB_TOKEN=…'

export interface OpenedPreviews {
  readonly opened: Opened
  readonly spec: PreviewSpec
  readonly github: PullRequests
}

/** @throws LandfallError config | token_missing */
export async function openPreviews(opened: Opened): Promise<OpenedPreviews> {
  const { estate, composition, configPath } = opened
  const spec = estate.previews
  if (!spec)
    throw new LandfallError('config', `${configPath} describes no previews.`, {
      hint: 'Add "previews": {"repository": "…", "host": "…"} to it; examples/previews.json shows a whole one, docs/config.md every key. Servers that are left of earlier ones go with: bun scripts/provision.ts apply',
    })
  const { context, environment } = composition.parts
  const { githubToken: token, githubApiUrl: endpoint } = environment
  if (!token) throw new LandfallError('token_missing', 'GITHUB_TOKEN is not set.', { hint: GITHUB_HINT })
  const { createPullRequests } = await import('./providers/github/pulls.ts')
  return { opened, spec, github: createPullRequests({ token, context, ...(endpoint ? { endpoint } : {}) }) }
}

/** The values that previews get: each from `PREVIEW_<NAME>`, so that a production value is never taken by accident. */
function readVariables({ opened, spec }: OpenedPreviews, warn: (text: string) => void): Readonly<Record<string, Secret>> {
  const { lookup } = opened.composition.parts.environment
  return Object.fromEntries(
    spec.variables.flatMap(name => {
      const value = lookup(`PREVIEW_${name}`)
      if (value === undefined) warn(`PREVIEW_${name} is not set, so previews go without ${name}.`)
      return value === undefined ? [] : [[name, new Secret(`PREVIEW_${name}`, value)]]
    }),
  )
}

async function depsFor(
  previews: OpenedPreviews,
  estate: Estate,
  words: Words,
  warn: (text: string) => void,
): Promise<PreviewCertificateDeps> {
  const { opened, spec, github } = previews
  const { composition } = opened
  const { environment } = composition.parts
  const gitToken = environment.lookup('PREVIEW_GIT_TOKEN')
  let last: Promise<unknown> = Promise.resolve()
  return {
    ...composition.deps,
    estate,
    spec,
    github,
    words,
    variables: readVariables(previews, warn),
    cloneBase: environment.gitCloneBase ?? 'https://github.com',
    ...(gitToken ? { gitToken: new Secret('PREVIEW_GIT_TOKEN', gitToken) } : {}),
    alone(work) {
      const next = last.then(work)
      last = next.catch(() => undefined)
      return next
    },
    ...(await orderingOf({ ...opened, estate })),
  }
}

/** The slices of previews beside the estate's own, for an estate that has the pull requests' servers too. */
function withReaders({ opened, spec, github }: OpenedPreviews, estate: Estate, alsoSee: readonly number[]): Opened {
  const { composition } = opened
  const deps = { ...composition.deps, estate }
  const refuse = (): Promise<never> => Promise.reject(new Error('bug: previews ask no panel and no service'))
  const nobody = { read: refuse, wanted: refuse }
  const readers = {
    ...estateReaders(estate, {
      ...deps,
      machines: createMachineReader(deps),
      panels: nobody,
      outside: nobody,
      swarms: nobody,
      services: nobody,
      installer: deps.nixos.installer,
      ownAddresses: () => deps.outside.findOwnAddresses(),
    }),
    pulls: async (get: <K extends keyof EstateWorld>(slice: K) => Promise<EstateWorld[K]>) => {
      const running = [...previewServers(estate.name, await get('servers')).keys()]
      const known = Object.values(await get('previews')).flatMap(each =>
        each.state === 'ready' ? each.runs.map(run => run.number) : [],
      )
      return readPulls({
        github,
        spec,
        estate: estate.name,
        nowMs: deps.clock.nowMs,
        alsoSee: [...running, ...known, ...alsoSee],
      })
    },
    previews: async (get: <K extends keyof EstateWorld>(slice: K) => Promise<EstateWorld[K]>) => {
      const servers = await get('servers')
      const host = servers.find(each => each.name === spec.host)
      const all = [...(host ? [host] : []), ...previewServers(estate.name, servers).values()]
      return Object.fromEntries(await Promise.all(all.map(async each => [each.name, await readPreviewsOn(deps, each)] as const)))
    },
  }
  return { ...opened, estate, composition: { ...composition, deps, readers } }
}

const SLICES = ['servers', 'previews', 'pulls', 'networks'] as const

/** The first look: whom the steps are about. */
export async function lookAtPreviews(previews: OpenedPreviews, alsoSee: readonly number[] = []) {
  const { opened, spec } = previews
  const looking = withReaders(previews, opened.estate, alsoSee)
  const world = new World<EstateWorld>(looking.composition.readers)
  await world.look([...SLICES, 'serverTypes', 'pricing'])
  const place = { spec, estate: opened.estate }
  return { world, verdicts: verdictsIn({ spec, words: {} }, world), runs: runsIn(place, world), strays: straysIn(place, world) }
}

/** Only SSH comes in from outside: visitors come through the host and the private network. */
const WALL_RULES = [
  { protocol: 'tcp', port: '22', from: ['0.0.0.0/0', '::/0'], why: 'SSH, by key only' },
  { protocol: 'icmp', from: ['0.0.0.0/0', '::/0'], why: 'ping and path MTU discovery' },
] as const

/** The part of the estate that previews are made of: their host, a server for each of `numbers` where they have one, and what guards these. */
function scopeOf(estate: Estate, spec: PreviewSpec, numbers: readonly number[]): Estate {
  const host = estate.servers.find(each => each.name === spec.host)
  if (!host) throw new Error(`bug: no server ${spec.host}`)
  const wall = previewFirewallName(estate.name)
  const own =
    spec.substrate === 'servers' ? numbers.map(number => ({ ...previewServerSpec(estate, spec, number), firewalls: [wall] })) : []
  return {
    ...estate,
    servers: [host, ...own],
    firewalls: [
      ...estate.firewalls.filter(each => host.firewalls.includes(each.name)),
      ...(own.length > 0 ? [{ name: wall, attach: 'at_create' as const, rules: WALL_RULES }] : []),
    ],
    placementGroups: estate.placementGroups.filter(each => each.name === host.placementGroup),
  }
}

function previewSteps(deps: Deps & PreviewCertificateDeps, numbers: readonly number[]): EstateStep[] {
  const { spec, estate } = deps
  const servers = estate.servers.filter(each => each.pullRequest !== undefined)
  return [
    ...estateSteps(deps, ['firewall', 'servers', 'machines'], [spec.host]),
    zoneStep(deps),
    previewHostStep(deps, spec.host),
    removalStep(deps),
    previewCertificateStep(deps),
    recordStep(deps, { name: `*.${spec.domain}`, server: spec.host, ttl: 300, proxied: false }),
    edgeStep(deps),
    ...servers.flatMap(server => {
      const step = serverStep(deps, server)
      // A place has to be free first.
      const needs = [...step.needs, 'previews gone', `preview host ${spec.host}`]
      return [
        { ...step, needs },
        guardStep(deps, server),
        runningStep(deps, server),
        machineStep(deps, server),
        previewHostStep(deps, server.name),
      ]
    }),
    ...numbers.flatMap(number => [previewStep(deps, number), commentStep(deps, number)]),
  ]
}

/** Looks at the pull requests and makes the previews what they shall be. Answers with the exit code. */
export async function convergePreviews(session: Session, opened: Opened, words: Words = {}): Promise<number> {
  const previews = await openPreviews(opened)
  const { spec } = previews
  const named = Object.keys(words).map(Number)
  const { world, runs, strays } = await lookAtPreviews(previews, named)
  const verdicts = verdictsIn({ spec, words }, world)
  const unknown = named.filter(number => ![...verdicts, ...runs, ...strays].some(each => each.number === number))
  if (unknown.length > 0)
    throw new LandfallError('usage', `${spec.owner}/${spec.repository} has no pull request ${unknown.join(' and ')}.`, {
      hint: 'See them: bun scripts/preview.ts list',
    })
  const wanted = verdicts.filter(each => each.standing === 'wanted').map(each => each.number)
  const estate = scopeOf(opened.estate, spec, wanted)
  const scoped = withReaders(previews, estate, [...named, ...verdicts.map(each => each.number)])
  const deps = { ...scoped.composition.deps, ...(await depsFor(previews, estate, words, text => session.reporter.warning(text))) }
  const numbers = verdicts.map(each => each.number)
  const convergeTo = (steps: () => readonly EstateStep[]) =>
    converge(session, scoped, {
      steps,
      partial: true,
      report: live => {
        const now = verdictsIn({ spec, words }, live)
        const up = runsIn({ spec, estate }, live).filter(each => each.state === 'up')
        const failed = runsIn({ spec, estate }, live).filter(each => each.state === 'failed')
        const queued = now.filter(each => each.standing === 'queued')
        return {
          outputs: Object.fromEntries(
            up.map(({ number }) => [`pr_${number}_url`, `https://${previewHost(spec.domain, number)}`]),
          ),
          notes: [
            { label: 'previews', text: `${up.length} of at most ${spec.max}` },
            ...(failed.length > 0
              ? [{ label: 'failed', text: `${failed.map(each => each.number).join(', ')}: the pull requests say why` }]
              : []),
            ...(queued.length > 0 ? [{ label: 'queued', text: queued.map(each => each.number).join(', ') }] : []),
          ],
          next: commandLine({
            args: { ...session.args, action: 'list', names: [], plan: false, flags: {} },
            manual: session.manual,
          }),
        }
      },
    })
  try {
    return await convergeTo(() => previewSteps(deps, numbers))
  } catch (error) {
    if (!hasCode(error, 'over_cap')) throw error
    // What nobody wants any more costs on otherwise, and may be what the cap lacks.
    if (strays.length > 0 || runs.some(each => !wanted.includes(each.number)))
      await convergeTo(() => [
        removalStep(deps),
        ...numbers.filter(number => !wanted.includes(number)).map(number => commentStep(deps, number)),
      ])
    throw error
  }
}

/** "12" or "#12". @throws LandfallError usage */
export function numbersIn(names: readonly string[]): readonly number[] {
  return names.map(name => {
    const match = /^#?([1-9]\d{0,8})$/.exec(name)
    if (!match?.[1])
      throw new LandfallError('usage', `"${name}" is not the number of a pull request.`, {
        hint: 'For example: bun scripts/preview.ts deploy 12',
      })
    return Number(match[1])
  })
}

/** What the operator asks for by name. @throws LandfallError usage, when a name is wanted and missing */
export function wordsFor(command: Command, names: readonly string[], nowMs: number): Words {
  const numbers = numbersIn(names)
  if (numbers.length === 0 && command !== 'deploy')
    throw new LandfallError('usage', `${command} needs the number of a pull request.`, {
      hint: `For example: bun scripts/preview.ts ${command} 12`,
    })
  return Object.fromEntries(numbers.map(number => [number, { command, atMs: nowMs }]))
}
