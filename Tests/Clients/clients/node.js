// node's http2, https and http: one exchange named on the command line, its line on stdout.
'use strict'
const crypto = require('crypto'), fs = require('fs'), zlib = require('zlib')
const [base, ca, version, name, given] = process.argv.slice(2)
const data = JSON.parse(fs.readFileSync(given))
const upload = Buffer.from(data.upload), pieces = data.stream.map((text) => Buffer.from(text))
const options = { ca: fs.readFileSync(ca) }
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const digest = (content) => crypto.createHash('sha256').update(content).digest('hex').slice(0, 8)

let session
function connect() {
  session = require('http2').connect(base, options)
  session.on('error', () => { })
  session.on('goaway', () => { session.isEnding = true })
}

// A request; content is a buffer, a list of buffers, or undefined; `begun` gets the request.
function two(path, { method = 'GET', headers = {}, content, begun, wait } = {}) {
  return new Promise((done, failed) => {
    if (!session || session.closed || session.destroyed || session.isEnding) connect()
    const request = session.request({ ':path': path, ':method': method, ...headers },
      { endStream: content === undefined })
    const result = { interim: [], body: [], trailers: {} }
    request.on('headers', (h) => result.interim.push(h))
    request.on('response', (h) => { result.status = h[':status']; result.headers = h })
    request.on('trailers', (h) => { result.trailers = h })
    request.on('data', (piece) => result.body.push(piece))
    request.on('end', () => { result.body = Buffer.concat(result.body); if (result.status) done(result) })
    request.on('error', failed)
    request.on('close', () => failed(new Error('closed')))
    if (wait) request.on('continue', () => request.end(content))
    else if (Array.isArray(content)) { content.forEach((piece) => request.write(piece)); request.end() }
    else if (content) request.end(content)
    if (begun) begun(request)
  })
}

let agent
function one(path, { method = 'GET', headers = {}, content, begun, wait } = {}) {
  const http = base.startsWith('https') ? require('https') : require('http')
  agent ||= new http.Agent({ keepAlive: true, maxSockets: 100 })
  if (content && !Array.isArray(content)) headers = { ...headers, 'content-length': content.length }
  return new Promise((done, failed) => {
    const request = http.request(base + path, { method, headers, agent, ...options })
    const interim = []
    request.on('information', (i) => interim.push({ ':status': i.statusCode, ...i.headers }))
    request.on('response', (response) => {
      const body = []
      response.on('data', (piece) => body.push(piece))
      response.on('error', failed)
      response.on('end', () => done({
        interim, status: response.statusCode, headers: response.headers, body: Buffer.concat(body),
        trailers: response.trailers
      }))
    })
    request.on('error', failed)
    if (wait) request.on('continue', () => { request.end(content) })
    else if (Array.isArray(content)) { content.forEach((piece) => request.write(piece)); request.end() }
    else request.end(content)
    if (begun) begun(request)
  })
}

const fetch = version === '2' ? two : one
const text = (r) => `${r.status} ${r.body.toString().trim()}`
const cancelled = version === '2' ? (r) => r.close(require('http2').constants.NGHTTP2_CANCEL) : (r) => r.destroy()

const exchanges = {
  small: async () => text(await fetch('/small')),
  large: async () => { const r = await fetch('/large'); return `${r.status} ${r.body.length} ${digest(r.body)}` },
  post: async () => text(await fetch('/echo', {
    method: 'POST', content: upload, headers: { 'content-length': upload.length }
  })),
  stream: async () => text(await fetch('/echo', { method: 'POST', content: pieces })),
  head: async () => {
    const r = await fetch('/small', { method: 'HEAD' })
    return `${r.status} length ${r.headers['content-length']}, content ${r.body.length}`
  },
  missing: async () => text(await fetch('/missing')),
  redirect: async () => { const r = await fetch('/moved'); return `${r.status} ${r.headers.location}` },
  parallel: async () => {
    const all = await Promise.all(Array.from({ length: data.together }, () => fetch('/together')))
    return `${all.filter((r) => r.status === 200).length} times 200`
  },
  trailers: async () => { const r = await fetch('/trailers'); return `${text(r)}, x-sum ${r.trailers['x-sum']}` },
  early: async () => {
    const r = await fetch('/early')
    return `${r.interim[0][':status']} ${r.interim[0].link}, ${text(r)}`
  },
  continue: async () => text(await fetch('/echo', {
    method: 'POST', content: upload, wait: true, headers: { expect: '100-continue', 'content-length': upload.length }
  })),
  cancel: async () => {
    let stop
    const gone = fetch('/endless', { begun: (r) => { stop = r } }).catch(() => 'gone')
    await sleep(300)
    cancelled(stop)
    await gone
    return `cancelled, then ${text(await fetch('/small'))}`
  },
  abort: async () => {
    let stop
    const gone = fetch('/echo', { method: 'POST', content: Buffer.alloc(0), wait: true, begun: (r) => { stop = r } })
      .catch(() => 'gone')
    stop.write(pieces[0])
    await sleep(200)
    cancelled(stop)
    await gone
    return `aborted, then ${text(await fetch('/small'))}`
  },
  gzip: async () => {
    const r = await fetch('/gzip')
    return `${r.status} ${r.headers['content-encoding']} ${digest(zlib.gunzipSync(r.body))}`
  },
  // An array of cookies is a crumb each over HTTP/2.
  cookies: async () => text(await fetch('/cookies', {
    headers: { cookie: version === '2' ? data.cookies : data.cookies.join('; ') }
  })),
  idle: async () => {
    const first = text(await fetch('/small'))
    await sleep(2000)
    return `${first}, ${text(await fetch('/small'))}`
  },
  drain: async () => {
    let count = 0
    for (let i = 0; i < data.drained; i++) {
      for (;;) {
        try {
          if ((await fetch('/slow')).status === 200) count++
          break
        } catch (error) {
          // Only what was never begun is sent again.
          if (error.code !== 'ERR_HTTP2_GOAWAY_SESSION'
            && !/ECONNREFUSED|REFUSED_STREAM/.test(error.message)) throw error
          session = undefined
          await sleep(50)
        }
      }
    }
    return `${count} times 200`
  }
}
exchanges[name]().then((line) => { console.log(line); process.exit(0) },
  (error) => { console.log(`${error.code} ${error.message}`); process.exit(0) })
