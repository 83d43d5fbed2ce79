/* Makes the objects of this process immortal. Called in the master, before the first fork.

A forked process shares the pages of its parent until one of them writes to a page. CPython writes
to an object whenever a reference to it comes or goes, but since 3.12 never to an immortal one.

The walk begins at all objects of the garbage collector, and follows their references to objects
that the collector does not know: strings, numbers, the parts of code objects. What is immortal is
never freed, its finalizer never runs, and no weak reference to it ever ends. So these stay mortal:

- objects with a finalizer: files, sockets, generators, instances of classes with __del__;
- objects that close a descriptor when they are freed, though they have no finalizer: see CLOSING;
- frames, tracebacks and exceptions. A running function takes its locals away from its frame only
  if nobody else holds the frame.

An interned string keeps its state of interning: Python takes an immortal count for one that it has
made itself, and looks at the state only when the count comes to zero.

Only Pythons whose layout is known here are touched. Elsewhere the module is not built; see
shared_heap.py. A free-threaded Python counts in another way, a debug build checks its counts.
PyUnstable_SetImmortal() of Python 3.15 is no help: it refuses strings, and whatever has more than
one reference. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#if PY_VERSION_HEX < 0x030C0000 || PY_VERSION_HEX >= 0x030F0000 || SIZEOF_VOID_P < 8 \
    || defined(Py_GIL_DISABLED) || defined(Py_DEBUG)
#error "this Python is left alone"
#endif

/* 3.12 and 3.13 leave a count alone only if its lower 32 bits are all ones. 3.14 does from a lower
value on, and has flags in the upper bits. */
#if PY_VERSION_HEX >= 0x030E0000
static void set_immortal(PyObject *object)
{
    object->ob_refcnt = (uint32_t)_Py_IMMORTAL_INITIAL_REFCNT;
    object->ob_flags |= _Py_IMMORTAL_FLAGS;
}
#else
_Static_assert(_Py_IMMORTAL_REFCNT == 0xFFFFFFFF, "INCREF skips this value only");

static void set_immortal(PyObject *object)
{
    object->ob_refcnt = _Py_IMMORTAL_REFCNT;
}
#endif

static const char *const CLOSING[] = {"mmap.mmap", "select.epoll", NULL};

/* Objects that the collector does not know, made immortal, whose references are to be followed. */
struct walk {
    PyObject **found;
    size_t length, room;
    Py_ssize_t made;
    int no_memory;
};

static int stays_mortal(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type->tp_finalize != NULL || type->tp_del != NULL || PyFrame_Check(object)
        || PyTraceBack_Check(object) || PyExceptionInstance_Check(object)) {
        return 1;
    }
    for (const char *const *name = CLOSING; *name != NULL; name++) {
        if (strcmp(type->tp_name, *name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int make_immortal(struct walk *walk, PyObject *object)
{
    if (_Py_IsImmortal(object) || stays_mortal(object)) {
        return 0;
    }
    set_immortal(object);
    walk->made++;
    return 1;
}

static void push(struct walk *walk, PyObject *object)
{
    if (walk->length == walk->room) {
        size_t room = walk->room ? 2 * walk->room : 1024;
        PyObject **found = PyMem_RawRealloc(walk->found, room * sizeof *found);
        if (found == NULL) {
            walk->no_memory = 1;
            return;
        }
        walk->found = found;
        walk->room = room;
    }
    walk->found[walk->length++] = object;
}

/* A visitproc: one reference of an object. What the collector tracks comes by itself. */
static int reach(PyObject *object, void *walk)
{
    if (object != NULL && !(PyObject_IS_GC(object) && PyObject_GC_IsTracked(object))
        && make_immortal(walk, object)) {
        push(walk, object);
    }
    return 0;
}

static void follow_code(struct walk *walk, PyCodeObject *code)
{
    reach(code->co_consts, walk);
    reach(code->co_names, walk);
    reach(code->co_exceptiontable, walk);
    reach(code->co_localsplusnames, walk);
    reach(code->co_localspluskinds, walk);
    reach(code->co_filename, walk);
    reach(code->co_name, walk);
    reach(code->co_qualname, walk);
    reach(code->co_linetable, walk);
}

/* References of which tp_traverse does not tell, since they can be in no cycle. */
static void follow_untold(struct walk *walk, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (PyCode_Check(object)) {
        follow_code(walk, (PyCodeObject *)object);
    }
    else if (PyDict_Check(object)) {
        PyObject *key;
        Py_ssize_t position = 0;
        while (PyDict_Next(object, &position, &key, NULL)) {
            reach(key, walk);
        }
    }
    else if (PyType_Check(object) && PyType_HasFeature((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE)) {
        reach(((PyHeapTypeObject *)object)->ht_name, walk);
        reach(((PyHeapTypeObject *)object)->ht_qualname, walk);
    }
    else if (type == &PyWrapperDescr_Type || type == &PyMethodDescr_Type
             || type == &PyMemberDescr_Type || type == &PyGetSetDescr_Type) {
        reach(((PyDescrObject *)object)->d_name, walk);
        reach(((PyDescrObject *)object)->d_qualname, walk);
    }
}

static void follow(struct walk *walk, PyObject *object)
{
    if (PyObject_IS_GC(object) && Py_TYPE(object)->tp_traverse != NULL) {
        (void)Py_TYPE(object)->tp_traverse(object, reach, walk);
    }
    follow_untold(walk, object);
}

/* A gcvisitobjects_t: an object of the collector. It may be immortal already, its parts not. */
static int begin(PyObject *object, void *argument)
{
    struct walk *walk = argument;
    if (make_immortal(walk, object) || _Py_IsImmortal(object)) {
        follow(walk, object);
    }
    while (walk->length > 0) {
        follow(walk, walk->found[--walk->length]);
    }
    return !walk->no_memory;
}

static PyObject *make_all_immortal(PyObject *module, PyObject *arguments)
{
    struct walk walk = {0};
    PyUnstable_GC_VisitObjects(begin, &walk);
    PyMem_RawFree(walk.found);
    if (walk.no_memory) {
        return PyErr_NoMemory();
    }
    return PyLong_FromSsize_t(walk.made);
}

static PyMethodDef METHODS[] = {
    {"make_all_immortal", make_all_immortal, METH_NOARGS,
     "Make every object immortal that may be; return how many were made so. Raises MemoryError, and\n"
     "has then made some of them immortal. The caller holds the GIL throughout."},
    {NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_immortal",
    .m_doc = "Makes the objects of this process immortal.",
    .m_size = 0,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__immortal(void)
{
    return PyModuleDef_Init(&MODULE);
}
