/** Removes what runs left behind whose process is dead: containers with their volumes, snapshots, namespaces with their links and rules, files. */

import { RUN_LABEL } from './boxes.ts'
import type { Engine } from './engine.ts'
import { isLeftOver, removeDeadRuns } from './fabric.ts'

export const sweep = async (engine: Pick<Engine, 'docker'>): Promise<void> => {
  const format = `{{.ID}} {{.Label "${RUN_LABEL}"}}`
  const listed = await engine.docker(['ps', '--all', '--filter', `label=${RUN_LABEL}`, '--format', format])
  const rows = listed.split('\n').map(line => line.split(' '))
  const dead = rows.flatMap(([id = '', run = '']) => (id !== '' && isLeftOver(run) ? [id] : []))
  if (dead.length > 0) await engine.docker(['rm', '--force', '--volumes', ...dead])
  const kept = await engine.docker(['images', '--filter', `label=${RUN_LABEL}`, '--format', '{{.Repository}}:{{.Tag}}'])
  // A snapshot is called after its run: landfall-machine:RUN-ID.
  const snapshots = kept.split('\n').filter(tag => tag !== '' && isLeftOver(tag.replace(/^[^:]*:/, '').split('-')[0] ?? ''))
  if (snapshots.length > 0) await engine.docker(['image', 'rm', '--force', ...snapshots])
  await removeDeadRuns()
}
