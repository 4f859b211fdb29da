/** Tags are DigitalOcean's labels, and outlive what they were on: a run that is cut off between the two leaves some on nothing. */

import { done, todo } from '../engine/step.ts'
import type { Deps, EstateStep } from './deps.ts'

/** No such tag is left; no step at a vendor whose labels are part of their objects. */
export function tagSteps({ cloud, estate }: Pick<Deps, 'cloud' | 'estate'>, needs: readonly string[]): EstateStep[] {
  if (estate.cloud !== 'digitalocean') return []
  return [
    {
      id: 'idle tags',
      noun: 'server',
      title: 'no tag of Landfall is left on nothing',
      needs,
      reads: ['idleTags'],
      look(world) {
        const idle = world.get('idleTags')
        if (idle.length === 0) return done('none')
        return todo({
          kind: 'change',
          summary: `delete ${idle.length} ${idle.length === 1 ? 'tag' : 'tags'} that nothing carries`,
          details: idle.map(name => `- ${name}`),
          async apply({ world: live }) {
            await cloud.deleteIdleTags(idle)
            live.update('idleTags', () => [])
          },
        })
      },
    },
  ]
}
