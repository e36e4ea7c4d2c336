// A prediction service. usage: node serve.mjs MODEL [PORT]; MODEL: an export folder, a .pt2 or a checkpoint
import { createServer } from 'node:http'
import { loadForInference } from 'torchkeep'

const [path, port = '8080'] = process.argv.slice(2)
const maxBodyBytes = 1 << 20
const model = await loadForInference(path)

const reply = (status, value) => ({ status, text: JSON.stringify(value) })
async function answer(request, signal) {
  if (request.method === 'GET') return reply(200, { inputs: model.inputs, outputs: model.outputs })
  let [chunks, sizeBytes] = [[], 0]
  for await (const chunk of request) if ((sizeBytes += chunk.length) <= maxBodyBytes) chunks.push(chunk)
  if (sizeBytes > maxBodyBytes) return reply(413, { error: `a body has at most ${maxBodyBytes} bytes` })
  const outputs = await model.predict(JSON.parse(Buffer.concat(chunks).toString())?.inputs, { signal })
  const values = outputs.map((output) => output.tolist())
  for (const output of outputs) output.dispose()
  return reply(200, { outputs: values })
}
const isMistake = (error) => error instanceof SyntaxError || error.code === 'ERR_DATA'
const refuse = (error) => reply(isMistake(error) ? 400 : 500, { error: error.message })
const server = createServer(async (request, response) => {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  const { status, text } = await answer(request, gone.signal).catch(refuse)
  response.writeHead(status, { 'content-type': 'application/json', ...(!server.listening && { connection: 'close' }) })
  response.end(text)
})
server.listen(Number(port), '127.0.0.1', () => console.log(`listening on port ${server.address().port}`))
process.once('SIGTERM', () => server.close(() => model.dispose()))
