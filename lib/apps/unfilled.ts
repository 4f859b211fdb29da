/** What an import could not bring along: names without values, which stop a cutover. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Estate } from '../estate/estate.ts'
import type { Unfilled } from '../steps/cutover-world.ts'
import { unfilledIn } from './env-file.ts'

/** By app: the variables in its env file that nobody filled in yet. A cutover of one of its names must not begin while there are any. */
export function findUnfilled(estate: Pick<Estate, 'platform'>, configPath: string): readonly Unfilled[] {
  return (estate.platform?.apps ?? []).flatMap(app => {
    const file = app.envFile === undefined ? undefined : join(dirname(configPath), app.envFile)
    if (file === undefined || !existsSync(file)) return []
    const names = unfilledIn(readFileSync(file, 'utf8'))
    return names.length === 0 ? [] : [{ app: app.name, file, names, hosts: app.domains.map(domain => domain.host) }]
  })
}
