import { createRoot } from 'react-dom/client'

const greeting = 'Hello'

createRoot(document.getElementById('root')).render(<h1>{greeting}</h1>)
