/** What the estate has, whether it is healthy, and what differs from config.json. Reads only. */

import { converge } from '../lib/converge.ts'
import { differsForGood, endingOf } from '../lib/ending.ts'
import { main } from '../lib/main.ts'
import { defineScript, flagValues, hasFlag } from '../lib/script.ts'
import { inspectMachine, showFindings, showSshCommands, showStatus } from '../lib/status.ts'
import { ALL_STAGES, estateSteps } from '../lib/steps/estate.ts'

const status = defineScript({
  manual: {
    name: 'status',
    about: 'Show what is there, how it is, and what is not as config.json wants it.',
    flags: [
      { name: 'machine', value: 'SERVER', about: 'what runs on one machine, and how its first boot went' },
      { name: 'ssh', about: 'the command that logs in to each machine, with its pinned key' },
    ],
    examples: [
      { command: 'bun scripts/status.ts', about: 'the whole estate; exit code 2 when something differs' },
      { command: 'bun scripts/status.ts --machine prod-dokploy', about: 'containers, services and cloud-init of one machine' },
    ],
  },

  looksOnly: () => true,

  async run(session) {
    const opened = await session.open()
    const [machine] = flagValues(session, 'machine')
    if (machine !== undefined) return inspectMachine(session, opened, machine)
    if (hasFlag(session, 'ssh')) return showSshCommands(session, opened)
    await showStatus(session, opened)
    const ending = endingOf(session)
    let differs = false
    const code = await converge({ ...session, args: { ...session.args, plan: true } }, opened, {
      steps: deps => estateSteps(deps, ALL_STAGES),
      alsoRead: ['pricing', 'serverTypes'],
      onLook: (steps, world) => showFindings(session.reporter, steps, world),
      report(world, estate) {
        differs = differsForGood(estate, world)
        return ending(world, estate)
      },
    })
    return code === 0 && differs ? 2 : code
  },
})

export default status
if (import.meta.main) await main(status)
