/** A plan and a command line, in the words that people read. Pure. */

import { coming, type Plan } from './engine/plan.ts'
import type { World } from './engine/world.ts'
import { LandfallError } from './errors.ts'
import type { Estate, FirewallSpec } from './estate/estate.ts'
import { desiredRules, exposureLines } from './estate/firewall.ts'
import { quoteForSh } from './providers/ssh/quote.ts'
import type { Opened, Session } from './script.ts'
import type { Deps } from './steps/deps.ts'
import { desiredAdminRules } from './steps/firewall.ts'
import type { EstateWorld } from './steps/world.ts'
import type { ParsedArgs, PlanView, Reporter } from './ui/types.ts'
import { COMMAND } from './ui/wrap.ts'

export function viewOf(
  { estate, simulated, configPath }: Opened,
  plan: Plan<EstateWorld>,
  world: World<EstateWorld>,
  admin?: Deps['admin'],
): PlanView {
  const pricing = world.has('pricing') ? world.get('pricing') : undefined
  const money =
    pricing && plan.monthlyNet !== 0
      ? { money: { currency: pricing.currency, net: plan.monthlyNet, gross: plan.monthlyNet * (1 + pricing.vatRate / 100) } }
      : {}
  return {
    subject: `estate ${estate.name} (${configPath})${simulated.length > 0 ? ', rehearsed in the sandbox' : ''}`,
    entries: entriesOf(plan),
    changes: plan.changes,
    ...(writesFirewalls(plan)
      ? { reachable: reachableLines(estate, world.has('firewalls') ? world.get('firewalls') : [], admin) }
      : {}),
    ...typicalTime(plan),
    ...money,
  }
}

/** A plan's lines, whatever world it is about. */
export const entriesOf = <W>(plan: Plan<W>): PlanView['entries'] =>
  plan.entries.map(({ step, finding }) => ({
    noun: step.noun,
    title: step.title,
    state: finding.state,
    ...(finding.state === 'done' ? { detail: finding.detail } : {}),
    ...(finding.state === 'refused' ? { detail: finding.why, hint: finding.hint } : {}),
    ...(finding.state === 'blocked' ? { detail: `after ${finding.on}` } : {}),
    changes: coming(finding).map(change => ({
      kind: change.kind,
      summary: change.summary,
      ...('details' in change && Array.isArray(change.details) ? { details: change.details } : {}),
    })),
  }))

const writesFirewalls = (plan: Plan<EstateWorld>): boolean =>
  plan.entries.some(
    ({ step, finding }) =>
      (step.noun === 'firewall' || step.noun === 'server') &&
      finding.state === 'todo' &&
      // What is left after a destruction is nothing.
      finding.changes.some(change => change.kind !== 'destroy'),
  )

/** Who will reach what, by server; servers that offer the same share a line. */
function reachableLines(estate: Estate, have: EstateWorld['firewalls'], admin: Deps['admin']): string[] {
  const rulesOf = (wall: FirewallSpec) =>
    wall.attach === 'when_owned'
      ? desiredAdminRules(wall, have.find(each => each.name === wall.name)?.rules ?? [], admin)
      : desiredRules(wall)
  const offers = estate.servers.map(spec => {
    const walls = estate.firewalls.filter(
      wall => spec.firewalls.includes(wall.name) || (wall.attach === 'when_owned' && spec.dokploy),
    )
    return { name: spec.name, lines: walls.flatMap(wall => exposureLines(rulesOf(wall))).join(', ') }
  })
  return [...Map.groupBy(offers, offer => offer.lines)].map(
    ([lines, servers]) => `${servers.map(server => server.name).join(', ')}: ${lines || 'nothing'}`,
  )
}

/** The longest chain of steps that are still to be done, by what each usually takes. */
function typicalTime(plan: Plan<EstateWorld>): { readonly typicalMs?: number } {
  const open = new Map(
    plan.entries
      .filter(({ finding }) => finding.state === 'todo' || finding.state === 'blocked')
      .map(({ step }) => [step.id, step]),
  )
  const ends = new Map<string, number>()
  // The entries stand in dependency order, so what a step needs has its end already.
  for (const step of open.values())
    ends.set(step.id, Math.max(0, ...step.needs.map(id => ends.get(id) ?? 0)) + (step.typicalMs ?? 1_000))
  const typicalMs = Math.max(0, ...ends.values())
  return typicalMs > 0 ? { typicalMs } : {}
}

/** A word as a shell takes it for one. */
const shellWord = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : quoteForSh(word))

/** The flags that say which estate and which world is meant. A fresh sandbox is there by now, and would begin anew. */
const placeFlags = ({ config, sandbox }: Pick<ParsedArgs, 'config' | 'sandbox'>): readonly string[] => [
  ...(config === 'config.json' ? [] : [`--config ${shellWord(config)}`]),
  ...(sandbox === undefined ? [] : [typeof sandbox === 'string' ? '--sandbox' : `--sandbox=${sandbox.url}`]),
]

/** The command that was given, with further flags: what a hint tells people to paste. One that only planned still only plans. */
export function commandLine({ args, manual }: Pick<Session, 'args' | 'manual'>, ...more: string[]): string {
  const flags = Object.entries(args.flags).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : value.map(each => `--${name} ${shellWord(each)}`),
  )
  return [
    `bun scripts/${manual.name}.ts`,
    ...(args.action && args.action !== manual.actions?.[0]?.name ? [args.action] : []),
    ...args.names.map(shellWord),
    ...placeFlags(args),
    ...flags,
    ...(args.plan ? ['--plan'] : []),
    ...more,
  ].join(' ')
}

/** A hint whose commands name the same estate and the same world as the command that was given. Pure. */
export function completeHint(hint: string, args: Pick<ParsedArgs, 'config' | 'sandbox'>): string {
  const flags = placeFlags(args)
  return hint.replaceAll(new RegExp(COMMAND, 'g'), command => {
    const missing = flags.filter(flag => !command.includes(flag.split(/[ =]/)[0] ?? flag))
    return command.replace(/\.ts/, script => [script, ...missing].join(' '))
  })
}

/** The reporter of a session: what it advises can be pasted. */
export const adviseFor = (reporter: Reporter, args: ParsedArgs): Reporter => ({
  ...reporter,
  error(error) {
    if (!(error instanceof LandfallError) || error.hint === undefined) return reporter.error(error)
    const { code, message, hint, correlationId, status, vendorCode, cause } = error
    const details = { hint: completeHint(hint ?? '', args), cause }
    reporter.error(
      new LandfallError(code, message, {
        ...details,
        ...(correlationId ? { correlationId } : {}),
        ...(status ? { status } : {}),
        ...(vendorCode ? { vendorCode } : {}),
      }),
    )
  },
  plan: view =>
    reporter.plan({
      ...view,
      entries: view.entries.map(entry => (entry.hint ? { ...entry, hint: completeHint(entry.hint, args) } : entry)),
    }),
  warning: text => reporter.warning(completeHint(text, args)),
  summary: ({ notes, next, ...rest }) =>
    reporter.summary({
      ...rest,
      notes: notes.map(note => ({ ...note, text: completeHint(note.text, args) })),
      ...(next === undefined ? {} : { next: completeHint(next, args) }),
    }),
})
