/** A preview of each open pull request: put up, kept as it should be, taken down. */

import { main } from '../lib/main.ts'
import { answerEvent, listPreviews, serveWebhooks, showPreviewLogs } from '../lib/preview-commands.ts'
import { convergePreviews, wordsFor } from '../lib/previews.ts'
import { defineScript } from '../lib/script.ts'

const preview = defineScript({
  manual: {
    name: 'preview',
    about:
      'Give each open pull request an environment of its own, with a name and TLS. Every action looks at all pull requests and makes all previews what they shall be; a number adds a word about one.',
    actions: [
      { name: 'list', about: 'every pull request that has or wants a preview, and how it stands; changes nothing' },
      { name: 'deploy', about: 'put up what is missing; with a number, also one that was destroyed or has expired' },
      { name: 'redeploy', about: 'the same, and the named ones anew' },
      { name: 'destroy', about: 'take the named ones down; they stay down until /deploy or deploy' },
      { name: 'sweep', about: 'take down what nobody wants: closed, drafts, expired, leftovers' },
      { name: 'logs', about: 'the last lines of the deploy and the containers of one' },
      { name: 'event', about: 'for workflows: as sweep, without questions, and waiting for a run that is under way' },
      { name: 'serve', about: 'a receiver for GitHub’s webhooks, for those who want no workflow' },
    ],
    names: 'number',
    nameForm: /^\d+$/,
    flags: [
      { name: 'port', value: 'PORT', about: 'serve: where to listen (default: 8098)' },
      { name: 'listen', value: 'ADDRESS', about: 'serve: on which address (default: 127.0.0.1)' },
      { name: 'every', value: 'MINUTES', about: 'serve: look so often without being told (default: 60)' },
    ],
    examples: [
      { command: 'bun scripts/preview.ts deploy --plan', about: 'what would be put up and taken down, and what it costs' },
      { command: 'bun scripts/preview.ts redeploy 12 --yes', about: 'number 12 anew' },
      { command: 'bun scripts/preview.ts list --sandbox --config examples/previews.json', about: 'a rehearsal' },
    ],
  },

  looksOnly: args => args.action === 'list' || args.action === 'logs',

  async run(session) {
    const opened = await session.open()
    const { action, names } = session.args
    const nowMs = opened.composition.deps.clock.nowMs()
    switch (action) {
      case 'deploy':
      case 'redeploy':
      case 'destroy':
        return convergePreviews(session, opened, wordsFor(action, names, nowMs))
      case 'sweep':
        return convergePreviews(session, opened)
      case 'logs':
        return showPreviewLogs(session, opened)
      case 'event':
        return answerEvent({ ...session, args: { ...session.args, yes: true } }, opened)
      case 'serve':
        return serveWebhooks(session, opened)
      default:
        return listPreviews(session, opened)
    }
  },
})

export default preview
if (import.meta.main) await main(preview)
