/** Landfall's programs about applications, on a simulated machine. */

import type { ProgramName } from '../../estate/programs.ts'
import { fail, lines, type Outcome } from './outcome.ts'
import type { Emulation, ProgramMachine, Values } from './programs.ts'

const KEPT = 20
const NO_HISTORY = 4

const appIn = (values: Values): string | undefined => (/^[a-z0-9-]+$/.test(values.APP ?? '') ? values.APP : undefined)
const badApp = fail(65, 'APP is not the name of an application.')

const readHistory = ({ history }: ProgramMachine, values: Values): Outcome => {
  const app = appIn(values)
  if (app === undefined) return badApp
  const kept = history[app] ?? []
  return kept.length === 0 ? { exitCode: NO_HISTORY } : { exitCode: 0, stdout: kept.map(line => `${line}\n`).join('') }
}

const appendHistory = (machine: ProgramMachine, values: Values): Outcome => {
  const app = appIn(values)
  if (app === undefined) return badApp
  if (machine.diskFull) return fail(1, 'mktemp: failed to create file: No space left on device')
  const kept = [...(machine.history[app] ?? []), Buffer.from(values.ENTRY ?? '').toString('base64')].slice(-KEPT)
  machine.setHistory({ ...machine.history, [app]: kept })
  return lines({ ok: 1 })
}

const readImage = (machine: ProgramMachine, { IMAGE: image = '' }: Values): Outcome => {
  if (!/^[\w./:@][\w./:@-]*$/.test(image)) return fail(65, 'IMAGE is not the name or the id of an image.')
  const digests = machine.apps().digests(image)
  return digests ? lines({ image: 'present', digests: digests.join(' ') }) : lines({ image: 'absent' })
}

const appImage = (machine: ProgramMachine, values: Values): Outcome => {
  const { ACTION: action, APP_NAME: appName = '', IMAGE: image = '' } = values
  if (!/^sha256:[0-9a-f]+$/.test(image)) return fail(65, 'IMAGE is not the id of an image.')
  if (action !== 'keep' && action !== 'restore') return fail(65, 'ACTION is keep or restore.')
  return lines({ image: machine.apps().retag(appName, image, action) })
}

const taskLog = (machine: ProgramMachine, { TASK: task = '', LINES: count = '' }: Values): Outcome => {
  if (!/^[a-z0-9]+$/.test(task)) return fail(65, 'TASK is not the id of a task.')
  if (!/^[0-9]+$/.test(count)) return fail(65, 'LINES is not a number.')
  return { exitCode: 0, stdout: machine.apps().taskLog(task, Number(count)) ?? `no such task or service: ${task}\n` }
}

const drill = (machine: ProgramMachine, values: Values): Outcome => {
  const { KIND: kind = '', BUCKET: bucket = '', KEY: key = '', ENDPOINT: endpoint = '' } = values
  const object = machine.apps().object(endpoint, bucket, key)
  if (!object) return fail(1, 'The backup cannot be read out of the bucket.')
  if (object.damaged)
    return { ...fail(1, 'The backup is damaged: its compression does not end well.'), stdout: `bytes=${object.bytes}\n` }
  if (object.kind === 'empty volume' && kind === 'volume')
    return { ...fail(1, 'What came back is empty.'), stdout: `bytes=${object.bytes}\n` }
  const isPanel = kind === 'panel'
  if (object.kind.replace(/ with key$/, '') !== kind) return fail(1, 'The dump does not restore.')
  return lines({
    bytes: object.bytes,
    ...(isPanel ? { key: object.kind.endsWith('with key') ? 'present' : 'absent' } : {}),
    items: 12,
    ok: 1,
  })
}

export const APP_PROGRAMS = {
  'read-app-history': { accepts: ['APP'], run: readHistory },
  'append-app-history': { accepts: ['APP', 'ENTRY'], run: appendHistory },
  'read-app-image': { accepts: ['IMAGE'], run: readImage },
  'app-image': { accepts: ['ACTION', 'APP_NAME', 'IMAGE'], run: appImage },
  'task-log': { accepts: ['TASK', 'LINES'], run: taskLog },
  'drill-backup': {
    accepts: ['KIND', 'IMAGE', 'BUCKET', 'KEY', 'BYTES', 'ENDPOINT', 'REGION', 'PROVIDER', 'ACCESS_KEY', 'SECRET_KEY'],
    run: drill,
  },
} satisfies Partial<Record<ProgramName, Emulation>>
