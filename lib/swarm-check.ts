/** What doctor says of swarms with workers: whether each answers, and what is wrong with its nodes. Pure. */

import type { Diagnosis } from './doctor.ts'
import type { Estate } from './estate/estate.ts'
import type { EstateWorld } from './steps/world.ts'

export function judgeSwarms(estate: Pick<Estate, 'servers'>, swarms: EstateWorld['swarms']): Omit<Diagnosis, 'name'> {
  const entries = Object.entries(swarms)
  if (entries.length === 0) return { state: 'ok', detail: 'no server works for another' }
  const isServer = (name: string) => estate.servers.some(spec => spec.name === name)
  const findings = entries.flatMap(([manager, swarm]): Omit<Diagnosis, 'name'>[] => {
    if (swarm.state === 'away')
      return [
        {
          state: 'fail',
          detail: `the swarm of ${manager} does not answer: ${swarm.why}`,
          fix: `bun scripts/status.ts --machine ${manager}`,
        },
      ]
    return swarm.nodes.flatMap((node): Omit<Diagnosis, 'name'>[] => {
      const about = `${node.name} in the swarm of ${manager}`
      if (node.isLeaving) return [{ state: 'fail', detail: `${about} is half taken out`, fix: 'bun scripts/setup.ts' }]
      if (node.state !== 'ready')
        return [
          {
            state: 'fail',
            detail: `${about} is ${node.state}`,
            fix: isServer(node.name)
              ? `bun scripts/status.ts --machine ${node.name}`
              : `No server of the estate is behind it: docker node rm ${node.id}, on ${manager}`,
          },
        ]
      if (node.availability === 'active') return []
      return [
        {
          state: 'warn',
          detail: `${about} gets no containers: its availability was set to ${node.availability} by hand`,
          fix: `docker node update --availability active ${node.id}, on ${manager}`,
        },
      ]
    })
  })
  const worst = findings.find(each => each.state === 'fail') ?? findings[0]
  if (worst) return { ...worst, detail: findings.map(each => each.detail).join('; ') }
  return {
    state: 'ok',
    detail: entries
      .map(([manager, swarm]) => `${manager}: ${swarm.state === 'up' ? swarm.nodes.length : 0} nodes are ready`)
      .join('; '),
  }
}
