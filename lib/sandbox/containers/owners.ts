/** Which process a thing on this computer belongs to, so that what a dead one left behind can be told from what a live one uses. */

import { existsSync, readFileSync } from 'node:fs'

/** `PID-START`: the start time tells a process from a later one with its number. */
export const ownerOf = (pid: number): string => `${pid}-${startOf(pid)}`

/** Whether the process with this number lives and is this program. */
export const isAlive = (pid: number, program: string): boolean => {
  const file = `/proc/${pid}/comm`
  return existsSync(file) && readFileSync(file, 'utf8').trim() === program
}

export const ownerLives = (owner: string): boolean => {
  const [pid = '', start = ''] = owner.split('-')
  return start !== '' && startOf(Number(pid)) === start
}

const startOf = (pid: number): string => {
  const file = `/proc/${pid}/stat`
  if (!existsSync(file)) return ''
  const stat = readFileSync(file, 'utf8')
  // Fields are counted behind the command's name, which may hold spaces and brackets itself.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
