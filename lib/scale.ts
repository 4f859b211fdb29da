/** Servers get the size that config.json names: up or down, one after another, so that never two are away at once. */

import { converge } from './converge.ts'
import { endingOf } from './ending.ts'
import { LandfallError } from './errors.ts'
import { quoted } from './estate/words.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import { serverSizeStep, sizeStepId } from './steps/server-size.ts'

/** The named servers, or all that are in no cluster. Answers with the exit code. @throws LandfallError usage | refused */
export function scaleServers(session: Session, opened: Opened): Promise<number> {
  const names = flagValues(session, 'server')
  const { servers, name: estate, cluster } = opened.estate
  const unknown = names.find(name => !servers.some(spec => spec.name === name))
  if (unknown !== undefined)
    throw new LandfallError('usage', `The estate has no server ${quoted(unknown)}.`, {
      hint: `It has: ${servers.map(spec => spec.name).join(', ')}.`,
    })
  const members = [...(cluster?.servers ?? []), ...(cluster?.workers ?? [])]
  const member = names.find(name => members.includes(name))
  if (member !== undefined)
    throw new LandfallError(
      'refused',
      `${member} is in the cluster: shut down just so, it would fail the visitors of its jobs.`,
      {
        hint: `Make it anew with its new type, its jobs move first: bun scripts/cluster.ts replace ${member}`,
      },
    )
  const chosen = servers.filter(spec => (names.length > 0 ? names.includes(spec.name) : !members.includes(spec.name)))
  return converge(session, opened, {
    steps: deps =>
      chosen.map((spec, index) => {
        const before = chosen[index - 1]
        return serverSizeStep(deps, spec, before ? [sizeStepId(before.name)] : [])
      }),
    partial: true,
    confirmName: estate,
    alsoRead: ['pricing', 'serverTypes'],
    report: endingOf(session),
  })
}
