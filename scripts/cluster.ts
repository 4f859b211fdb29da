/** A cluster of Nomad, Consul and Caddy: set up in the right order, deployed to, kept, looked at. */

import { applyCluster, buildImages, deployApps, renewCertificates, replaceMachine } from '../lib/cluster/actions/apply.ts'
import { openCluster } from '../lib/cluster/actions/open.ts'
import { holdTunnels, showLogin, showLogs, showSecrets, showStatus } from '../lib/cluster/actions/status.ts'
import { main } from '../lib/main.ts'
import { defineScript } from '../lib/script.ts'

const EXAMPLE = '--config examples/nomad-previews.json'
/** These work in a checkout without the apps' variables too. */
const WITHOUT_FILES = ['status', 'logs', 'tunnel', 'login', 'renew', 'build']
const LOOKS = ['plan', 'status', 'logs', 'secrets', 'tunnel', 'login']

const cluster = defineScript({
  manual: {
    name: 'cluster',
    about: 'Run applications on several servers with Nomad, Consul and Caddy, so that one of them may fail.',
    actions: [
      {
        name: 'apply',
        about: 'make everything as config.json says: servers, programs, jobs; one machine after another',
        names: 'none',
      },
      { name: 'plan', about: 'show what apply would do; the same as --plan', names: 'none' },
      { name: 'deploy', about: 'roll out apps beside their old version; one that is not healthy is taken back' },
      { name: 'build', about: 'build the apps’ images from their Dockerfiles and push them; deploy and apply do it too' },
      {
        name: 'renew',
        about: 'order certificates anew that end soon, and nothing else; for a timer, which workflow.ts writes',
        names: 'none',
      },
      { name: 'status', about: 'machines, quorums and jobs; exit code 1 when something is not as wanted', names: 'none' },
      { name: 'logs', about: 'what an app has printed, or a machine’s programs' },
      { name: 'secrets', about: 'names of the apps’ variables and how they differ from their files; never a value' },
      { name: 'replace', about: 'move visitors and jobs off a machine, delete it, make it anew' },
      { name: 'tunnel', about: 'open a way to the pages of Nomad, Consul and Grafana until Ctrl-C', names: 'none' },
      { name: 'login', about: 'show the tokens and the password for those pages', names: 'none' },
    ],
    names: 'app|machine',
    flags: [
      { name: 'image', value: 'APP=IMAGE', many: true, about: 'deploy: the image to run, where config.json names no version' },
      { name: 'part', value: 'PROGRAM', about: 'logs of a machine: consul, nomad, caddy or docker (default nomad)' },
    ],
    examples: [
      { command: `bun scripts/cluster.ts plan ${EXAMPLE}`, about: 'what would be made, and what it costs' },
      { command: `bun scripts/cluster.ts deploy web --image web=ghcr.io/acme/web:1.5 ${EXAMPLE} --yes`, about: 'in CI' },
      { command: `bun scripts/cluster.ts replace node-2 ${EXAMPLE} --yes --confirm node-2`, about: 'a machine, dead or alive' },
      { command: `bun scripts/cluster.ts logs node --part consul ${EXAMPLE}`, about: 'why a machine does not join' },
    ],
  },

  looksOnly: args => LOOKS.includes(args.action ?? ''),

  async run(session) {
    const { action, names } = session.args
    const named = action === 'build' || action === 'deploy' || action === 'secrets' ? names : []
    const opened = await openCluster(session, named, WITHOUT_FILES.includes(action ?? '') ? 'no files' : 'files')
    try {
      if (action === 'deploy') return await deployApps(session, opened)
      if (action === 'build') return await buildImages(session, opened)
      if (action === 'renew') return await renewCertificates(session, opened)
      if (action === 'status') return await showStatus(session, opened)
      if (action === 'logs') return await showLogs(session, opened, names[0])
      if (action === 'secrets') return await showSecrets(session, opened)
      if (action === 'replace') return await replaceMachine(session, opened, names[0])
      if (action === 'tunnel') return await holdTunnels(session, opened)
      if (action === 'login') return await showLogin(session, opened)
      const planned = action === 'plan' ? { ...session, args: { ...session.args, plan: true } } : session
      return await applyCluster(planned, opened)
    } finally {
      await opened.close()
    }
  },
})

export default cluster
if (import.meta.main) await main(cluster)
