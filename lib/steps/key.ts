/** The public keys that log in. */

import { done, refused, type Step, todo } from '../engine/step.ts'
import type { KeySpec } from '../estate/estate.ts'
import { isOurs, labelsFor } from '../estate/labels.ts'
import { CONSOLES, type SshKey } from '../providers/ports/cloud.ts'
import type { Deps } from './deps.ts'
import type { EstateWorld } from './world.ts'

/** Two public key lines are the same key when type and blob agree; comments differ freely. */
export const sameKey = (a: string, b: string): boolean =>
  a.split(/\s+/).slice(0, 2).join(' ') === b.split(/\s+/).slice(0, 2).join(' ')

/** The vendor's object for `spec`, whatever its name: a key can be registered only once. */
export const findKey = (spec: KeySpec, keys: readonly SshKey[]): SshKey | undefined =>
  keys.find(each => sameKey(each.publicKey, spec.publicKey))

export function keyStep(deps: Pick<Deps, 'estate' | 'cloud' | 'runId'>, spec: KeySpec): Step<EstateWorld> {
  const { estate, cloud } = deps
  return {
    id: `key ${spec.name}`,
    noun: 'key',
    title: `SSH key ${spec.name} is known`,
    needs: [],
    reads: ['keys'],
    look(world) {
      const keys = world.get('keys')
      const same = findKey(spec, keys)
      if (same) return done(isOurs(same.labels, estate.name) ? same.name : `registered as ${same.name}`)
      const namesake = keys.find(each => each.name === spec.name)
      if (namesake)
        return refused(
          `Another SSH key is called ${spec.name} in this project.`,
          `Rename or delete it in ${CONSOLES[cloud.vendor]} (Security → SSH keys), then run the same command again.`,
        )
      return todo({
        kind: 'create',
        summary: `register SSH key ${spec.name}`,
        async apply({ world: live }) {
          const key = await cloud.createSshKey({
            name: spec.name,
            publicKey: spec.publicKey,
            labels: labelsFor(estate.name, 'shared', deps.runId),
          })
          live.update('keys', all => [...all, key])
        },
      })
    },
  }
}
