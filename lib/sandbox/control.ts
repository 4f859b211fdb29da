/** The sandbox's own HTTP interface, below `/_sandbox/` on the internet's port: how other processes read its truth and turn its levers. */

import type { ControlAnswer } from './internet.ts'
import type { FaultRule, SandboxSettings } from './kit.ts'
import type { Sandbox } from './sandbox.ts'

type Controlled = Pick<
  Sandbox,
  'world' | 'requests' | 'instants' | 'environment' | 'settings' | 'reset' | 'controls' | 'openOldHost'
>

interface ControlRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: string
}

/** GET world, requests (`?after=<n>`), instants, environment, settings, time; POST settings, faults, time, old-host, reset. */
export const answerControl = async (sandbox: Controlled, request: ControlRequest): Promise<ControlAnswer> => {
  switch (`${request.method} ${request.path}`) {
    case 'GET /world':
      return ok(sandbox.world())
    case 'POST /nixos-anywhere':
      return installNixos(sandbox, request.body)
    case 'GET /requests': {
      const after = Number(request.query.get('after') ?? 0)
      return ok(sandbox.requests().filter(one => one.n > after))
    }
    case 'GET /instants':
      return ok(sandbox.instants())
    case 'GET /environment':
      return ok(sandbox.environment)
    case 'GET /settings':
      return ok(sandbox.settings)
    case 'POST /settings':
      return change(sandbox, request.body, parseSettings)
    case 'POST /faults':
      return change(sandbox, request.body, body => ({ faults: parseFaults(body) }))
    case 'GET /time':
      return ok(timeIn(sandbox))
    case 'POST /time':
      return passTime(sandbox, request.body)
    case 'POST /old-host':
      return openOldHost(sandbox, request.body)
    case 'POST /reset':
      sandbox.reset()
      return ok({ reset: true })
    default:
      return { status: 404, json: { error: `The sandbox has no ${request.method} /_sandbox${request.path}.` } }
  }
}

const DEFAULT_WAIT_MS = 120

const timeIn = ({ controls, settings }: Controlled) => ({
  aheadMs: controls.dns.aheadMs(),
  waitMs: settings.waitMs ?? DEFAULT_WAIT_MS,
})

/** What resolvers remember grows older by `ms`: a wait for a TTL need not be sat out. */
const passTime = (sandbox: Controlled, body: string): ControlAnswer => {
  try {
    sandbox.controls.dns.advanceMs(amount(fields(JSON.parse(body), 'The body').ms, 'ms'))
    return ok(timeIn(sandbox))
  } catch (error) {
    if (error instanceof Unusable || error instanceof SyntaxError) return { status: 400, json: { error: error.message } }
    throw error
  }
}

const openOldHost = async (sandbox: Controlled, body: string): Promise<ControlAnswer> => {
  try {
    const { names, domains, headers } = fields(JSON.parse(body), 'The body')
    const moving = list(names, 'names').map((each, i) => {
      const { name, kind } = fields(each, `names[${i}]`)
      return { name: text(name, `names[${i}].name`), kind: kind === 'backend' ? ('backend' as const) : ('frontend' as const) }
    })
    await sandbox.openOldHost({
      names: moving,
      domains: list(domains, 'domains').map((each, i) => text(each, `domains[${i}]`)),
      headers: list(headers, 'headers').map((each, i) => text(each, `headers[${i}]`)),
    })
    return ok({ serves: moving.map(each => each.name) })
  } catch (error) {
    if (error instanceof Unusable || error instanceof SyntaxError) return { status: 400, json: { error: error.message } }
    throw error
  }
}

const ok = (json: unknown): ControlAnswer => ({ status: 200, json })

class Unusable extends Error {
  override readonly name = 'Unusable'
}

const change = (sandbox: Controlled, body: string, parse: (body: unknown) => Partial<SandboxSettings>): ControlAnswer => {
  try {
    Object.assign(sandbox.settings, parse(JSON.parse(body)))
    return ok(sandbox.settings)
  } catch (error) {
    if (error instanceof Unusable || error instanceof SyntaxError) return { status: 400, json: { error: error.message } }
    throw error
  }
}

const fields = (value: unknown, what: string): Record<string, unknown> => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Unusable(`${what} must be an object.`)
  return Object.fromEntries(Object.entries(value))
}

const list = (value: unknown, what: string): readonly unknown[] => {
  if (!Array.isArray(value)) throw new Unusable(`${what} must be a list.`)
  return value
}

const text = (value: unknown, what: string): string => {
  if (typeof value !== 'string') throw new Unusable(`${what} must be a text.`)
  return value
}

const amount = (value: unknown, what: string): number => {
  if (typeof value !== 'number' || !(value >= 0)) throw new Unusable(`${what} must be a number of at least 0.`)
  return value
}

const flag = (value: unknown, what: string): boolean => {
  if (typeof value !== 'boolean') throw new Unusable(`${what} must be true or false.`)
  return value
}

const PARSERS = {
  latencyMs: value => amount(value, 'latencyMs'),
  bootMs: value => amount(value, 'bootMs'),
  dokployStartMs: value => amount(value, 'dokployStartMs'),
  waitMs: value => amount(value, 'waitMs'),
  rateLimits: value => flag(value, 'rateLimits'),
  keepRequests: value => flag(value, 'keepRequests'),
  faults: value => parseFaults(value),
  chaos: value => {
    if (value === null) return undefined
    const { seed, probability } = fields(value, 'chaos')
    return { seed: amount(seed, 'chaos.seed'), probability: amount(probability, 'chaos.probability') }
  },
  actionMs: value => {
    const given = Object.entries(fields(value, 'actionMs')).map(([command, ms]) => [command, amount(ms, `actionMs.${command}`)])
    const times: Record<string, number> = Object.fromEntries(given)
    return { ...times, other: amount(times.other, 'actionMs.other') }
  },
} satisfies { readonly [K in keyof SandboxSettings]-?: (value: unknown) => SandboxSettings[K] }

const parseSettings = (body: unknown): Partial<SandboxSettings> =>
  Object.fromEntries(
    Object.entries(fields(body, 'The settings')).map(([key, value]) => {
      if (!Object.hasOwn(PARSERS, key)) throw new Unusable(`The sandbox has no setting "${key}".`)
      return [key, PARSERS[key as keyof typeof PARSERS](value)]
    }),
  )

const EFFECTS = new Set(['status', 'reset_before', 'lost_answer', 'hang', 'truncate', 'slow'])

const parseFaults = (value: unknown): FaultRule[] => {
  if (!Array.isArray(value)) throw new Unusable('faults must be a list of rules.')
  return value.map((entry: unknown, i) => {
    const { effect } = fields(entry, `faults[${i}]`)
    const { kind, status, ms } = fields(effect, `faults[${i}].effect`)
    if (typeof kind !== 'string' || !EFFECTS.has(kind)) throw new Unusable(`faults[${i}].effect.kind is not a fault.`)
    if (kind === 'status') amount(status, `faults[${i}].effect.status`)
    if (kind === 'slow') amount(ms, `faults[${i}].effect.ms`)
    return entry as FaultRule
  })
}

/** A phase of an installation, as the stand-in for nixos-anywhere tells it. */
const installNixos = (sandbox: Controlled, body: string): ControlAnswer => {
  try {
    const { address, phase, files } = fields(JSON.parse(body), 'The body')
    const texts = Object.entries(fields(files, 'files')).map(([name, text]) => [name, String(text)] as const)
    const problem = sandbox.controls.machines.installNixos(String(address), {
      phase: String(phase),
      files: Object.fromEntries(texts),
    })
    return problem === undefined ? ok({ phase }) : { status: 409, json: { error: problem } }
  } catch (error) {
    if (error instanceof Unusable || error instanceof SyntaxError) return { status: 400, json: { error: error.message } }
    throw error
  }
}
