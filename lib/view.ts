/** A plan and a command line, in the words that people read. Pure. */

import { coming, type Plan } from './engine/plan.ts'
import type { World } from './engine/world.ts'
import { LandfallError } from './errors.ts'
import type { Estate } from './estate/estate.ts'
import { desiredRules, exposureLines } from './estate/firewall.ts'
import type { Opened, Session } from './script.ts'
import type { EstateWorld } from './steps/world.ts'
import type { ParsedArgs, PlanView, Reporter } from './ui/types.ts'

export function viewOf({ estate, simulated, configPath }: Opened, plan: Plan<EstateWorld>, world: World<EstateWorld>): PlanView {
  const pricing = world.has('pricing') ? world.get('pricing') : undefined
  const money =
    pricing && plan.monthlyNet !== 0
      ? { money: { currency: pricing.currency, net: plan.monthlyNet, gross: plan.monthlyNet * (1 + pricing.vatRate / 100) } }
      : {}
  return {
    subject: `estate ${estate.name} (${configPath})${simulated.length > 0 ? ', rehearsed in the sandbox' : ''}`,
    entries: entriesOf(plan),
    changes: plan.changes,
    ...(writesFirewalls(plan) ? { reachable: reachableLines(estate) } : {}),
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
function reachableLines(estate: Estate): string[] {
  const offers = estate.servers.map(spec => {
    const walls = estate.firewalls.filter(
      wall => spec.firewalls.includes(wall.name) || (wall.attach === 'when_owned' && spec.dokploy),
    )
    return { name: spec.name, lines: walls.flatMap(wall => exposureLines(desiredRules(wall, estate.adminAddresses))).join(', ') }
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

/** The command that was given, with further flags: what a hint tells people to paste. */
export function commandLine({ args, manual }: Pick<Session, 'args' | 'manual'>, ...more: string[]): string {
  const sandbox =
    args.sandbox === undefined ? [] : typeof args.sandbox === 'string' ? ['--sandbox'] : [`--sandbox=${args.sandbox.url}`]
  const flags = Object.entries(args.flags).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : value.map(each => `--${name} ${each}`),
  )
  return [
    `bun scripts/${manual.name}.ts`,
    ...(args.action && args.action !== manual.actions?.[0]?.name ? [args.action] : []),
    ...args.names,
    ...(args.config === 'config.json' ? [] : [`--config ${args.config}`]),
    ...sandbox,
    ...flags,
    ...more,
  ].join(' ')
}

/** A hint whose commands name the same estate and the same world as the command that was given. Pure. */
export function completeHint(hint: string, args: Pick<ParsedArgs, 'config' | 'sandbox'>): string {
  const flags = [
    ...(args.config === 'config.json' ? [] : [`--config ${args.config}`]),
    ...(args.sandbox === undefined ? [] : [typeof args.sandbox === 'string' ? '--sandbox' : `--sandbox=${args.sandbox.url}`]),
  ]
  if (flags.length === 0 || hint.includes('--config') || hint.includes('--sandbox')) return hint
  return hint.replaceAll(/bun scripts\/[a-z-]+\.ts/g, command => [command, ...flags].join(' '))
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
